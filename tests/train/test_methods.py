"""Every method on tiny models: what it trains, what it leaves alone, what it reads and resumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from factories import VOCABULARY, make_encoder, make_tokenizer, save_backbones
from layalign.errors import CheckpointError, ConfigError
from layalign.eval import evaluate_checkpoint
from layalign.eval.loading import read_finetune
from layalign.model import LayAlignModel
from layalign.model.backbones import load_language_model
from layalign.processing import LayAlignProcessor
from layalign.train.finetune import PlainDataset
from layalign.train.methods import METHODS, plan_method
from layalign.train.recipe import Recipe, load_recipe
from layalign.train.run import run_recipe
from layalign.train.stages import StageConfig
from layalign.train.summary import RunSummary

Values = dict[str, Any]
OWN_LM = ("multilingual_sft", "multilingual_lora", "qalign", "mindmerger_hard")
JOINED = ("langbridge", "mindmerger", "layalign")
TRANSLATING = ("translate_test", "mindmerger_hard")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models, and a file of examples in two languages."""
    root = tmp_path_factory.mktemp("methods")
    save_backbones(root)
    rows = [
        {
            "id": str(i),
            "text": "three eggs" if i % 2 else "tatu mayai mbili",
            "language": "en" if i % 2 else "sw",
            "target": f"the answer is {i}",
            "answer": str(i),
        }
        for i in range(8)
    ]
    (root / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def done(root: Path) -> Callable[[str], RunSummary]:
    """The run of each method, made once."""
    return cache(lambda method: run(recipe_values(root, root / "runs", method)))


@pytest.fixture
def make(root: Path, tmp_path: Path) -> Callable[..., Values]:
    """A recipe that has everything that any method needs, as plain values."""
    return partial(recipe_values, root, tmp_path)


def recipe_values(root: Path, folder: Path, method: str = "layalign", **changes: Any) -> Values:
    source = {"path": str(root / "data.jsonl")}
    stage = {"lr": 1e-2, "gate_lr": 1e-1, "batch_size": 4, "epochs": 1, "eval_every": 2}
    return {
        "output_dir": str(folder / method),
        "method": method,
        "model": {"encoder": str(root / "encoder"), "language_model": str(root / "language_model")},
        "processor": {"prompt_template": "{question} ="},
        "data": {
            "finetune": {"train": [{**source, "languages": ["en"]}]},
            "translation": {"train": [source]},
            "task": {"train": [source], "dev": [{**source, "limit": 1}]},
            "evaluation": [{**source, "limit": 2}],
            "on_leak": "warn",
        },
        "stage": {
            "finetune": {"lr": 2e-2, "batch_size": 2, "epochs": 1},
            "translation": stage,
            "task": stage,
        },
        "evaluation": {"max_new_tokens": 3, "translation_max_new_tokens": 3},
        **changes,
    }


def run(values: Values, **options: Any) -> RunSummary:
    return run_recipe(Recipe.from_dict(values), **options)


def weights(place: str | Path) -> dict[str, torch.Tensor]:
    return dict(load_language_model(str(place)).named_parameters())


def changed(place: str | Path, before: str | Path) -> set[str]:
    """Names of the parameters of a language model that are others than before."""
    one, other = weights(place), weights(before)
    return {name for name in other if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs(method: str, done: Callable[[str], RunSummary], root: Path) -> None:
    """Of one recipe each trains exactly what it should, and is measured."""
    summary = done(method)
    folder, chosen = Path(summary.output_dir), METHODS[method]
    stages = {*chosen.language_model, *chosen.composite}
    assert set(summary.stages) == stages
    assert load_recipe(folder / "recipe.yaml").method == method
    assert all(stage["updates"] >= 1 for stage in summary.stages.values())
    rows = summary.evaluation["languages"]  # type: ignore[index]
    assert set(rows) == {"en", "sw"}
    assert all(row["items"] == 2 for row in rows.values())

    plain = chosen.translates or not chosen.composite
    everything, linear = (
        set(weights(root / "language_model")),
        {name for name in weights(root / "language_model") if name.endswith("_proj.weight")},
    )
    first = folder / (chosen.language_model[0] if method in OWN_LM else "language_model")
    assert changed(first, root / "language_model") == everything
    if method in OWN_LM:
        expected = linear if chosen.lora else everything
        assert changed(folder / "language_model", first) == expected
    if chosen.composite:
        place = folder / ("translator" if chosen.translates else "")
        model = LayAlignModel.from_pretrained(place)
        parts = {name.split(".")[0] for name in model.trainable_names()}
        no_aligner = method in ("langbridge", "mindmerger")
        assert parts == ({"adapter"} if no_aligner else {"adapter", "aligner", "gates"})
        same = dict(model.language_model.named_parameters())
        assert all(torch.equal(same[name], p) for name, p in weights(first).items())
        found = make_encoder().state_dict()
        assert all(torch.equal(p, found[name]) for name, p in model.encoder.state_dict().items())
    assert summary.checkpoint == str(folder / "language_model" if not chosen.composite else folder)
    if plain:
        template = read_finetune(folder / "language_model")["prompt_template"]
        assert template == "{question} ="


@pytest.mark.parametrize("method", ["multilingual_lora", "mindmerger_hard"])
def test_finished_stages_are_not_done_again(
    method: str, make: Callable[..., Values], done: Callable[[str], RunSummary]
) -> None:
    """Interrupted in the last stage, a run goes on there and ends as one in one piece."""
    last = list(plan_method(Recipe.from_dict(make(method))).configs)[-1]

    def stop(phase: str, done: float, text: str) -> None:
        if phase == last:
            raise KeyboardInterrupt

    values = make(method)
    with pytest.raises(KeyboardInterrupt):
        run(values, progress=stop)
    folder = Path(values["output_dir"])
    assert not (folder / "language_model").exists()
    seen = set()
    resumed = run(values, resume=True, progress=lambda phase, *_: seen.add(phase))
    assert {phase for phase in seen if not phase.startswith("evaluate")} == {last}
    assert not (folder / ".examples").exists()
    whole = done(method)
    assert resumed.stages[last]["losses"] == whole.stages[last]["losses"]
    assert not changed(folder / "language_model", f"{whole.output_dir}/language_model")


def test_the_language_model_as_it_is(make: Callable[..., Values], root: Path) -> None:
    values = make("base", stage={}, model={"language_model": str(root / "language_model")})
    summary = run(values)
    assert summary.stages == {}
    assert summary.checkpoint == str(root / "language_model")
    left = {p.name for p in Path(summary.output_dir).iterdir()}
    assert left == {"predictions", "recipe.yaml", "summary.json"}
    source = values["data"]["evaluation"][0]["path"]
    again = evaluate_checkpoint(
        summary.checkpoint,
        data=source,
        limit=2,
        max_new_tokens=3,
        base_prompt_template="{question} =",
    )
    for tag, row in again["languages"].items():
        expected = summary.evaluation["languages"][tag]["bare"]  # type: ignore[index]
        assert row["bare"]["new_tokens"] == expected["new_tokens"]
    plan = run({**values, "output_dir": "other"}, dry_run=True).plan
    assert plan["parameters"]["trained"] == 0  # type: ignore[index]


@pytest.mark.parametrize("method", TRANSLATING)
def test_a_run_that_translates_is_no_checkpoint(
    method: str, done: Callable[[str], RunSummary]
) -> None:
    with pytest.raises(CheckpointError, match=r"no model that answers by itself; evaluate .*lang"):
        evaluate_checkpoint(done(method).checkpoint)
    translator = LayAlignProcessor.from_pretrained(f"{done(method).output_dir}/translator")
    assert translator.prompt_template == ""


def test_a_translator_by_name(make: Callable[..., Values], root: Path, tmp_path: Path) -> None:
    """Then no encoder is needed, and nothing trains LayAlign's parts."""
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    tokenizer = make_tokenizer(specials=True)
    config = T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, eos_token_id=2, **sizes)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    values = make("translate_test", model={"language_model": str(root / "language_model")})
    del values["stage"]["translation"], values["data"]["translation"]
    with pytest.raises(ConfigError, match=r"stage\.translation is missing"):
        plan_method(Recipe.from_dict(values))
    values["evaluation"]["translator"] = "none/there"
    missing = run(values, dry_run=True).plan["missing"]  # type: ignore[index]
    assert missing == ["translator: none/there"]
    values["evaluation"]["translator"] = str(tmp_path / "t5")
    summary = run(values)
    assert "translation" not in summary.stages
    assert not Path(summary.output_dir, "translator").exists()
    assert summary.evaluation["languages"]["sw"]["layalign"]["items"] == 2  # type: ignore[index]


def test_what_the_hard_merge_is_trained_on(
    make: Callable[..., Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Question and translation, in training as in evaluation; English by itself."""
    read: list[list[str]] = []
    original = PlainDataset.__init__

    def spy(self: Any, examples: Any, *args: Any) -> None:
        read.append([example.text for example in examples])
        original(self, examples, *args)

    monkeypatch.setattr(PlainDataset, "__init__", spy)
    values = make("mindmerger_hard")
    values["data"]["evaluation"] = []
    run(values)
    finetune, task, dev = read
    assert set(finetune) == {"three eggs"}
    for text in (*task, *dev):
        question, _, translation = text.partition("\n")
        assert question in ("three eggs", "tatu mayai mbili")
        assert not (translation and question == "three eggs")


def test_settings_of_the_language_model_come_from_its_fine_tune(
    make: Callable[..., Values],
) -> None:
    values = make("multilingual_lora")
    values["stage"]["finetune"] |= {"embedding_noise": 5, "betas": [0.7, 0.9]}
    values["stage"]["task"] |= {"text_input": False, "prompt_template": "=", "max_updates": 7}
    values["methods"] = {
        "multilingual_lora": ["stage.task.lora_rank=2", "evaluation.batch_size=3"],
        "base": ["seed=8"],
    }
    plan = plan_method(Recipe.from_dict(values))
    task = plan.configs["task"]
    assert (task.lr, task.batch_size, task.embedding_noise) == (2e-2, 2, 5)
    assert task.betas == (0.7, 0.9)
    assert (task.max_updates, task.eval_every, task.lora_rank) == (7, 2, 2)
    assert (task.gate_lr, task.text_input) == (None, True)
    assert "{question}" in task.prompt_template  # type: ignore[operator]
    assert plan.recipe.evaluation.batch_size == 3
    assert plan.recipe.seed == 0
    del values["methods"], values["stage"]["finetune"]["embedding_noise"]
    assert plan_method(Recipe.from_dict(values)).configs["task"].lora_rank == 8
    values["stage"]["finetune"]["lora_rank"] = 4
    assert plan_method(Recipe.from_dict(values)).configs["task"].lora_rank == 4
    values["method"] = "multilingual_sft"
    configs = plan_method(Recipe.from_dict(values)).configs
    assert (configs["finetune"].lora_rank, configs["task"].lora_rank) == (4, None)
    del values["stage"]["finetune"]
    assert plan_method(Recipe.from_dict(values)).configs["task"].lr == 1e-2


def test_the_documentation_has_every_method_and_its_recipe_serves_them(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "methods.md").read_text("utf-8")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(page.partition("```yaml\n")[2].partition("```")[0], "utf-8")
    for method in METHODS:
        assert f"| `{method}` |" in page
        plan_method(load_recipe(recipe, [f"method={method}"]))
    plan = plan_method(load_recipe(recipe, ["method=translate_test"]))
    assert list(plan.configs) == ["finetune"]  # its translator is named in its changes


def test_planning_leaves_the_recipe_alone(make: Callable[..., Values]) -> None:
    for method in METHODS:
        recipe = Recipe.from_dict(make(method))
        before = recipe.to_dict()
        assert plan_method(recipe) == plan_method(recipe)
        assert recipe.to_dict() == before
        assert Recipe.from_dict(before) == recipe


def test_layalign_is_the_recipe_itself(make: Callable[..., Values]) -> None:
    recipe = Recipe.from_dict(make())
    plan = plan_method(recipe)
    assert plan.recipe == recipe
    assert list(plan.configs.items()) == [
        (name, getattr(recipe.stage, name)) for name in ("finetune", "translation", "task")
    ]


def test_text_that_langbridge_and_mindmerger_read(make: Callable[..., Values]) -> None:
    values = make("langbridge")
    values["model"] |= {"encoder_layers": [1], "aligner": "mlp"}
    values["stage"]["task"] |= {"text_dropout": 0.5}
    plan = plan_method(Recipe.from_dict(values))
    assert list(plan.composite) == ["task"]
    assert not plan.composite["task"].text_input
    assert plan.recipe.model.encoder_layers is None
    values["method"] = "mindmerger"
    values["stage"]["task"] = {"text_input": False}
    plan = plan_method(Recipe.from_dict(values))
    assert list(plan.composite) == ["translation", "task"]
    assert plan.composite["task"].text_input
    assert plan.recipe.model.aligner == "none"
    values["stage"]["task"] = None  # as an ablation
    assert list(plan_method(Recipe.from_dict(values)).composite) == ["translation"]


@pytest.mark.parametrize(
    ("method", "stage", "message"),
    [
        ("qalign", {"task": {}}, r"method qalign: stage\.translation is missing"),
        ("qalign", {"translation": {}}, r"stage\.finetune is missing, which this .*; add it"),
        ("multilingual_sft", {"finetune": {}}, r"stage\.task is missing"),
        ("langbridge", {"translation": {}}, r"stage\.task is missing"),
        ("mindmerger", {}, r"stage\.task is missing"),
        ("translate_test", {"finetune": {}}, r"stage\.translation .* name an evaluation\.trans"),
        ("layalign", {}, "no stage is given; add at least one of finetune, translation, task"),
        ("layaling", {"task": {}}, "unknown method 'layaling' in method; did you mean 'layalign'"),
        ("zzz", {"task": {}}, "unknown method 'zzz' in method; expected one of base, multilingual"),
    ],
)
def test_what_a_method_needs(
    method: str, stage: Values, message: str, make: Callable[..., Values]
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(make(method, stage=stage))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mindmergr": []}, "unknown method 'mindmergr' in methods; did you mean 'mindmerger'"),
        ({"mindmerger": ["stage.task.lrr=1"]}, r"method mindmerger: unknown key 'stage.task.lrr'"),
        ({"mindmerger": ["method=base"]}, "method mindmerger: its changes set method; leave that"),
        ({"mindmerger": ["stage.task=3"]}, r"stage\.task is 3; expected a mapping"),
        ({"mindmerger": ["stage={}"]}, r"method mindmerger: stage\.task is missing"),
        ({"mindmerger": ["nonsense"]}, "method mindmerger: override 'nonsense' is not key=value"),
        ({"mindmerger": ["stage.task.lora_rank=2"]}, "the language model is frozen there"),
    ],
)
def test_wrong_changes(changes: Values, message: str, make: Callable[..., Values]) -> None:
    with pytest.raises(ConfigError, match=message):
        run(make("mindmerger", methods=changes))


def test_a_method_that_brings_a_stage_of_its_own(make: Callable[..., Values], root: Path) -> None:
    values = make("qalign")
    source = {"path": str(root / "data.jsonl"), "languages": ["en"]}
    del values["stage"]["finetune"], values["data"]["finetune"]
    values["methods"] = {"qalign": ["stage.finetune={max_updates: 1}"]}
    with pytest.raises(ConfigError, match=r"stage\.finetune has no data; add data\.finetune"):
        plan_method(Recipe.from_dict(values))
    values["methods"]["qalign"].append(f"data.finetune.train={json.dumps([source])}")
    assert run(values, dry_run=True).stages["finetune"]["updates"] == 1


def test_a_stage_that_is_left_out_stays_out(make: Callable[..., Values]) -> None:
    values = make("multilingual_lora", methods={"multilingual_lora": ["stage.finetune.lr=1"]})
    assert plan_method(Recipe.from_dict(values)).language_model["finetune"].lr == 1
    values["stage"]["finetune"] = None
    with pytest.raises(
        ConfigError, match=r"stage\.finetune\.lr is set, but stage\.finetune is not"
    ):
        plan_method(Recipe.from_dict(values))


def test_the_language_model_reads_texts_as_long_as_the_recipe_allows(
    make: Callable[..., Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def tuned(*args: Any, config: StageConfig, **options: Any) -> None:
        seen[len(seen)] = (config.prompt_max_length, config.target_max_length)
        raise KeyboardInterrupt

    monkeypatch.setattr("layalign.train.run.finetune_language_model", tuned)
    values = make("qalign", processor={"prompt_max_length": 700, "target_max_length": 900})
    values["stage"]["finetune"]["prompt_max_length"] = 30
    for method in ("qalign", "base"):
        with pytest.raises(KeyboardInterrupt):
            run({**values, "method": method, "output_dir": f"{values['output_dir']}-{method}"})
    assert seen == {0: (700, 900), 1: (30, 900)}


def test_an_adapter_alone_is_alone(make: Callable[..., Values]) -> None:
    values = make("mindmerger")
    values["model"] |= {"lora": {"rank": 2}, "gate": "head", "aligner_width": 8}
    for method in ("mindmerger", "langbridge", "translate_test", "layalign"):
        model = plan_method(Recipe.from_dict({**values, "method": method})).recipe.model
        assert (model.lora is None) == (method != "layalign")


def test_a_translating_run_holds_the_language_model_once(
    make: Callable[..., Values], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr("layalign.train.answering.load_bare", loaded.append)
    summary = run(make("translate_test"))
    assert loaded == []
    assert all(row["bare"] for row in summary.evaluation["languages"].values())  # type: ignore


def test_a_method_resumes_as_itself_alone(
    make: Callable[..., Values], done: Callable[[str], RunSummary]
) -> None:
    values = {**make("layalign"), "output_dir": done("base").output_dir}
    with pytest.raises(ConfigError, match=r"differs .* in method; set it back"):
        run(values, resume=True)
