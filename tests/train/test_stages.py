import pytest

from layalign.errors import ConfigError
from layalign.train.stages import Stage, StageConfig


def test_the_papers_stages():
    translation, task = (StageConfig.paper(stage) for stage in Stage)
    assert (translation.lr, task.lr) == (4e-5, 3e-5)
    assert translation.prompt_template == ""
    assert task.prompt_template is None
    for config in (translation, task):
        assert (config.batch_size, config.epochs, config.warmup) == (128, 3, 0.05)
        assert (config.betas, config.eps, config.weight_decay) == ((0.8, 0.999), 1e-8, 3e-7)
        assert (config.schedule, config.max_grad_norm) == ("cosine", 1.0)


@pytest.mark.parametrize("stage", Stage)
def test_round_trip(stage):
    config = StageConfig.paper(stage, gate_lr=1e-2, max_minutes=2.5, micro_batch_size=16)
    assert StageConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lr": 0}, "lr is 0"),
        ({"batch_size": 12, "micro_batch_size": 5}, "divisor of batch_size, which is 12"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"warmup": 1.0}, "warmup is 1.0"),
        ({"schedule": "cosin"}, "cosine, linear, constant"),
        ({"dtype": "float16"}, "auto, bfloat16, float32"),
        ({"epochs": None}, "the stage has no end"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"eval_every": 0}, "eval_every is 0"),
    ],
)
def test_wrong_values(values, message):
    with pytest.raises(ConfigError, match=message):
        StageConfig(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gate_rate": 1}, "unknown key 'stage.task.gate_rate'; did you mean 'gate_lr'"),
        ({"lr": "fast"}, "stage.task.lr is 'fast'; expected a number"),
        ({"batch_size": 2.5}, "stage.task.batch_size is 2.5; expected a whole number"),
        ({"text_input": 1}, "stage.task.text_input is 1; expected true or false"),
        ({"betas": [0.9]}, r"stage.task.betas has 1 entries; expected 2"),
        ({"lr": -1}, "stage.task: lr is -1"),
    ],
)
def test_errors_name_the_setting(values, message):
    with pytest.raises(ConfigError, match=message):
        StageConfig.from_dict(values, where="stage.task")


def test_numbers_that_yaml_reads_as_text():
    assert StageConfig.from_dict({"lr": "3e-4", "batch_size": 16.0}).lr == 3e-4


def test_template():
    default = "{question} Answer :"
    assert StageConfig().template(default) == default
    assert StageConfig(text_input=False).template(default) == " Answer :"
    assert StageConfig(prompt_template="").template(default) == ""
