import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from layalign.errors import CheckpointError, ConfigError, TrainingError
from layalign.train.stages import Stage, StageConfig
from layalign.train.trainer import processor_for, train_stage

CONFIG = StageConfig(lr=1e-2, gate_lr=5e-2, batch_size=8, epochs=2, eval_every=2)


def trained(model):
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach().clone() for name in model.trainable_names()}


def assert_same(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=name, **tolerance)


def hand_loss(model, processor, example):
    """Sum of the target tokens' negative log-likelihoods, and their number."""
    batch = processor(example.text, target=example.target)
    labels = batch.pop("labels")
    with torch.no_grad():
        logits = model(**batch).logits
    text = labels.shape[1]
    kept = labels[0] != -100
    predicted = logits[0, -text - 1 : -1][kept]
    return float(F.cross_entropy(predicted, labels[0][kept], reduction="sum")), int(kept.sum())


@pytest.mark.parametrize("stage", Stage)
def test_both_stages_learn(stage, model, processor, examples, tmp_path):
    config = StageConfig.paper(stage, lr=2e-2, batch_size=8, epochs=6)
    result = train_stage(model, processor, examples, config, output_dir=tmp_path)
    assert result.updates == math.ceil(6 * 22 / 8) == len(result.losses)
    assert result.examples == 6 * 22
    assert result.losses[-1] < result.losses[0]
    assert not model.training


def test_first_loss_is_the_token_mean_by_hand(new_model, processor, examples, tmp_path):
    sums = [hand_loss(new_model(), processor, example) for example in examples]
    config = replace(CONFIG, batch_size=len(examples), micro_batch_size=11, max_updates=1)
    result = train_stage(new_model(), processor, examples, config, output_dir=tmp_path)
    expected = sum(s for s, _ in sums) / sum(n for _, n in sums)
    assert result.losses[0] == pytest.approx(expected, rel=1e-6)


def test_micro_batches_change_nothing(new_model, processor, examples, tmp_path):
    runs = []
    for micro in (8, 4, 1):
        model = new_model()
        # A larger eps, for Adam would turn rounding errors of tiny gradients into steps.
        config = replace(CONFIG, micro_batch_size=micro, eps=1e-3)
        folder = tmp_path / str(micro)
        result = train_stage(model, processor, examples, config, output_dir=folder)
        runs.append((result.losses, trained(model)))
    for losses, parameters in runs[1:]:
        assert losses == pytest.approx(runs[0][0], rel=1e-5)
        assert_same(parameters, runs[0][1], rtol=1e-3, atol=1e-5)


def test_only_the_trained_parameters_move(model, processor, examples, tmp_path):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == set(model.trainable_names())


def test_gates_have_their_own_rate(new_model, processor, examples, tmp_path):
    sizes = {}
    for rate in (1e-2, 1e-1):
        model = new_model()
        config = replace(CONFIG, gate_lr=rate, max_updates=1, warmup=0, schedule="constant")
        train_stage(model, processor, examples, config, output_dir=tmp_path / str(rate))
        sizes[rate] = model.gates.abs().mean().item()
    # Adam's first step has the size of the rate, and the gates start from 0.
    assert sizes == pytest.approx({rate: rate for rate in sizes}, rel=2e-2)


def test_development_loss_is_weighted_by_tokens(
    new_model, processor, examples, dev_examples, tmp_path
):
    model = new_model()
    config = replace(CONFIG, max_updates=1, micro_batch_size=2)
    result = train_stage(
        model, processor, examples, config, output_dir=tmp_path, dev_examples=dev_examples
    )
    sums = {"sw": [0.0, 0], "en": [0.0, 0]}
    for example in dev_examples:
        loss, count = hand_loss(model, processor, example)
        sums[example.language][0] += loss
        sums[example.language][1] += count
    by_hand = {language: loss / count for language, (loss, count) in sums.items()}
    assert result.best.languages == pytest.approx(by_hand, rel=1e-5)
    mean = sum(loss for loss, _ in sums.values()) / sum(count for _, count in sums.values())
    assert result.best.loss == pytest.approx(mean, rel=1e-5)
    assert result.best.perplexity == pytest.approx(math.exp(mean), rel=1e-5)


def test_the_best_weights_are_kept(model, processor, examples, dev_examples, tmp_path):
    def spoil(progress):
        if progress.update == 3:
            for name in model.trainable_names():
                model.get_parameter(name).data.normal_(std=5.0)

    result = train_stage(
        model,
        *(processor, examples, CONFIG),
        output_dir=tmp_path,
        dev_examples=dev_examples,
        progress=spoil,
    )
    assert result.best == min(result.dev, key=lambda dev: dev.loss)
    assert result.best.update == 2
    sums = [hand_loss(model, processor, example) for example in dev_examples]
    mean = sum(s for s, _ in sums) / sum(n for _, n in sums)
    assert result.best.loss == pytest.approx(mean, rel=1e-5)


def test_resumed_is_uninterrupted(new_model, processor, examples, dev_examples, tmp_path):
    config = replace(CONFIG, epochs=3, micro_batch_size=4)
    settings = {"dev_examples": dev_examples}
    whole = new_model()
    expected = train_stage(
        whole, processor, examples, config, output_dir=tmp_path / "whole", **settings
    )

    class Killed(BaseException):
        pass

    def kill(progress):
        if progress.update == 5:  # after the checkpoint at 4
            raise Killed

    with pytest.raises(Killed):
        train_stage(
            new_model(),
            *(processor, examples, config),
            output_dir=tmp_path / "cut",
            progress=kill,
            **settings,
        )
    model = new_model()
    result = train_stage(
        model, processor, examples, config, output_dir=tmp_path / "cut", resume=True, **settings
    )
    assert result.losses == expected.losses
    assert result.dev == expected.dev
    assert result.tokens == expected.tokens
    assert_same(trained(model), trained(whole), rtol=0, atol=0)


def test_a_finished_stage_is_not_repeated(new_model, processor, examples, tmp_path):
    model = new_model()
    first = train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)
    again = new_model()
    calls = []
    second = train_stage(
        again,
        *(processor, examples, CONFIG),
        output_dir=tmp_path,
        resume=True,
        progress=calls.append,
    )
    assert second == first
    assert not calls
    assert_same(trained(again), trained(model), rtol=0, atol=0)


def test_another_runs_checkpoints_are_not_overwritten(model, processor, examples, tmp_path):
    train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)
    with pytest.raises(TrainingError, match="already holds checkpoint-6; resume"):
        train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)


def test_damaged_checkpoint(model, processor, examples, tmp_path):
    train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)
    for update in (4, 6):
        (tmp_path / f"checkpoint-{update}" / "record.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"no checkpoint .* is whole \(checkpoint-6: record"):
        train_stage(model, processor, examples, CONFIG, output_dir=tmp_path, resume=True)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "rng_state.pth"])
def test_the_checkpoint_before_a_damaged_one_gives_the_same(
    name, new_model, processor, examples, tmp_path
):
    model = new_model()
    first = train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)
    damaged = tmp_path / "checkpoint-6" / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    again = new_model()
    second = train_stage(again, processor, examples, CONFIG, output_dir=tmp_path, resume=True)
    assert second.losses == first.losses
    assert_same(trained(again), trained(model), rtol=0, atol=0)


def test_a_stage_is_resumed_with_its_own_settings(model, processor, examples, tmp_path):
    train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)
    other = replace(CONFIG, lr=1e-3, seed=5, epochs=4)
    with pytest.raises(ConfigError, match=r"checkpoint-6 was begun with .* in lr, seed; set"):
        train_stage(model, processor, examples, other, output_dir=tmp_path, resume=True)


def test_the_last_weights_may_be_kept(model, processor, examples, dev_examples, tmp_path):
    config = replace(CONFIG, keep_best=False, keep_checkpoints=1, lr=1.0)  # it gets worse
    result = train_stage(
        model, processor, examples, config, output_dir=tmp_path, dev_examples=dev_examples
    )
    assert result.best is None
    assert len(result.dev) == 3
    saved = load_file(tmp_path / "checkpoint-6" / "model.safetensors")
    assert_same(trained(model), saved, rtol=0, atol=0)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]


def test_checkpoints_hold_trained_parameters_only(model, processor, examples, tmp_path):
    train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)
    saved = load_file(tmp_path / "checkpoint-6" / "model.safetensors")
    assert sorted(saved) == list(model.trainable_names())
    assert not (tmp_path / "checkpoint-6" / "training_args.bin").exists()
    assert sorted(p.name for p in tmp_path.glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-6"]


def test_nothing_else_is_changed(model, processor, examples, dev_examples, tmp_path):
    random.seed(3)
    np.random.seed(4)
    torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(3)
    np.random.seed(4)
    torch.manual_seed(5)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    use_cache = model.language_model.config.use_cache
    template = processor.prompt_template
    config = replace(CONFIG, prompt_template="answer", gradient_checkpointing=True)
    train_stage(model, processor, examples, config, output_dir=tmp_path, dev_examples=dev_examples)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert model.language_model.config.use_cache == use_cache
    assert processor.prompt_template == template
    assert not model.training
    assert not any(getattr(m, "gradient_checkpointing", False) for m in model.modules())


def test_gradient_checkpointing_changes_nothing(new_model, processor, examples, tmp_path):
    losses = [
        train_stage(
            new_model(),
            *(processor, examples),
            replace(CONFIG, gradient_checkpointing=on),
            output_dir=tmp_path / str(on),
        ).losses
        for on in (False, True)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


@pytest.mark.parametrize("backbones", [torch.float32, torch.bfloat16])
def test_bfloat16(backbones, new_model, processor, examples, tmp_path):
    expected = train_stage(new_model(), processor, examples, CONFIG, output_dir=tmp_path / "full")
    model = new_model()
    model.encoder.to(backbones)
    model.language_model.to(backbones)
    config = replace(CONFIG, dtype="bfloat16")
    result = train_stage(model, processor, examples, config, output_dir=tmp_path / "half")
    assert result.losses == pytest.approx(expected.losses, rel=2e-2)
    assert result.losses != expected.losses
    assert {p.dtype for p in trained(model).values()} == {torch.float32}


def test_float32_cannot_come_from_bfloat16(model, processor, examples, tmp_path):
    model.language_model.to(torch.bfloat16)
    with pytest.raises(ConfigError, match="load it in float32"):
        train_stage(
            model, processor, examples, replace(CONFIG, dtype="float32"), output_dir=tmp_path
        )


def test_limits_of_tokens_and_minutes(new_model, processor, examples, tmp_path):
    config = replace(CONFIG, epochs=None, max_tokens=200)
    result = train_stage(new_model(), processor, examples, config, output_dir=tmp_path / "tokens")
    per_update = result.tokens / result.updates
    assert 200 <= result.tokens < 200 + 3 * per_update
    config = replace(CONFIG, epochs=None, max_minutes=0.3 / 60)
    result = train_stage(new_model(), processor, examples, config, output_dir=tmp_path / "minutes")
    assert 0.3 <= result.seconds < 10


def test_progress(model, processor, examples, tmp_path):
    seen = []
    train_stage(model, processor, examples, CONFIG, output_dir=tmp_path, progress=seen.append)
    assert [p.update for p in seen] == [1, 2, 3, 4, 5, 6]
    assert {p.updates for p in seen} == {6}
    assert seen[2].fraction == 0.5
    assert seen[2].seconds_left == pytest.approx(seen[2].seconds)
    assert seen[-1].seconds_left == 0


def test_the_stages_lengths_and_template(processor):
    config = StageConfig(target_max_length=3, prompt_template="? {question}")
    changed = processor_for(processor, config)
    assert (changed.target_max_length, changed.encoder_max_length) == (3, 512)
    assert changed.prompt_template == "? {question}"
    changed.encode("tatu", target="one two three four")
    assert processor.truncations == {"target": 1}
    assert processor.target_max_length == 512


def test_float16_is_not_trained_on(model, processor, examples, tmp_path):
    model.language_model.half()
    with pytest.raises(ConfigError, match="float16, in which gradients of large updates vanish"):
        train_stage(model, processor, examples, CONFIG, output_dir=tmp_path)
