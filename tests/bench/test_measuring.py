"""What is measured, on models so small that the figures themselves mean nothing."""

from __future__ import annotations

import math
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

from factories import make_language_model, save_backbones
from layalign.bench import (
    Setup,
    bench_generation,
    bench_loading,
    bench_training,
    checkpoint_setup,
    loading,
    machine,
    memory,
    training,
)
from layalign.bench.generation import generation_runs
from layalign.bench.machine import read_bytes
from layalign.bench.report import print_bench
from layalign.bench.setup import make_inputs
from layalign.bench.training import bare_inputs, bare_step, training_runs
from layalign.errors import BackboneError, ConfigError, EvaluationError
from layalign.model import LayAlignModel
from layalign.train.footprint import Lengths

SETUP = Setup(
    encoder="mt5:layers=2,width=16,heads=2,vocab=50",
    llm="llama:layers=2,width=32,heads=4,kv_heads=2,ff=48,vocab=60",
    random_weights=True,
)
NO_TWIN = replace(SETUP, llm=SETUP.llm.replace("llama", "qwen2"))
LENGTHS = Lengths(encoder=3, prompt=4, target=5)
MEASURED = ("seconds", "tokens_per_second", "tflops_per_second", "matmul_share", "copy_share")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No processes of their own for memory, and ceilings that are none."""

    def figures(own: Any, alone: Any, *args: Any) -> dict[str, float | None]:
        for function in (own, alone):
            function(*args)
        return {"memory_gib": 2.0, "bare_memory_gib": 1.0, "memory_ratio": 2.0}

    monkeypatch.setattr(machine, "_SECONDS", 0.01)
    monkeypatch.setattr(machine, "_CPU_SIZES", (64, 2**10))
    monkeypatch.setattr(training, "memory_figures", figures)
    monkeypatch.setattr(loading, "memory_figures", figures)


@pytest.fixture(scope="module")
def model() -> LayAlignModel:
    return SETUP.model()


def shown(found: dict[str, Any]) -> str:
    console = Console(width=120, record=True, quiet=True)
    with console.capture() as capture:
        console.quiet = False
        print_bench(console, found)
    return capture.get()


def check_row(row: dict[str, Any], *ratios: str) -> None:
    for name in (*MEASURED, *ratios):
        assert 0 < row[name] < math.inf, name
    assert row["seconds_min"] <= row["seconds"] <= row["seconds_max"]


def test_generation() -> None:
    told: list[str] = []
    found = bench_generation(
        SETUP, batches=(1, 2), new_tokens=(3,), lengths=LENGTHS, progress=told.append
    )
    rows = found["rows"]
    assert [(row["batch"], row["new_tokens"]) for row in rows] == [(1, 3), (2, 3)]
    for row in rows:
        check_row(row, "ratio_to_bare", "ratio_to_published")
    assert told == ["3 new tokens, batch 1", "3 new tokens, batch 2"]
    assert found["setup"]["llm"] == SETUP.llm
    text = shown(found)
    assert "To published" in text
    assert "Stage" not in text


def test_training() -> None:
    found = bench_training(NO_TWIN, batches=(2,), lengths=LENGTHS)
    # BOS, encoder, boundary, prompt, target; the translation stage has no prompt
    expected = [("translation", 1 + 3 + 1 + 5), ("task", 1 + 3 + 1 + 4 + 5)]
    expected = [(stage, count - 1) for stage, count in expected]  # this family has no BOS
    assert [(row["stage"], row["sequence"]) for row in found["rows"]] == expected
    for row in found["rows"]:
        check_row(row, "ratio_to_bare", "memory_ratio")
        assert row["ratio_to_published"] is None
    assert "To published" not in shown(found)


def test_loading(tiny_checkpoint: Path) -> None:
    name = str(tiny_checkpoint)
    found = bench_loading(checkpoint_setup(name), checkpoint=name)
    row = found["rows"][0]
    assert row["ratio_to_bare"] > 0
    model = LayAlignModel.from_pretrained(tiny_checkpoint)
    assert row["weights_gib"] * 2**30 == sum(p.nbytes for p in model.parameters())
    assert "Memory" in shown(found)


def test_loading_random_weights_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert bench_loading(SETUP)["rows"][0]["seconds"] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("prompt", [0, 4])
def test_every_way_generates_as_many_tokens(model: LayAlignModel, prompt: int) -> None:
    inputs = make_inputs(model, replace(LENGTHS, prompt=prompt), 2)
    runs = generation_runs(model, inputs, 7, published=True)
    assert set(runs) == {"layalign", "bare", "published"}
    assert {tuple(run().shape) for run in runs.values()} == {(2, 7)}


def test_ours_is_the_published_one_without_padding(model: LayAlignModel) -> None:
    runs = generation_runs(model, make_inputs(model, LENGTHS, 2), 7, published=True)
    assert torch.equal(runs["layalign"](), runs["published"]())
    inputs = make_inputs(model, LENGTHS, 2, targets=True)
    gradients = []
    steps = training_runs(model, inputs, LENGTHS, published=True)
    for name in ("layalign", "published"):
        steps[name]()
        gradients.append([model.get_parameter(n).grad.clone() for n in model.trainable_names()])
    torch.testing.assert_close(*gradients)


def test_the_bare_step_is_the_gradient_of_transformers_own_loss() -> None:
    language_model = make_language_model().requires_grad_(False)
    embeddings, labels = bare_inputs(language_model, LENGTHS, 2)
    assert (labels != -100).sum(1).tolist() == [LENGTHS.target] * 2
    grads = []
    hook = (
        language_model.get_decoder()
        .layers[0]
        .register_forward_pre_hook(lambda _, args: args[0].register_hook(grads.append) and None)
    )
    bare_step(language_model, embeddings, labels)
    hook.remove()
    given = embeddings.clone().requires_grad_()
    logits = language_model(inputs_embeds=given).logits
    F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()).backward()
    torch.testing.assert_close(grads[0], given.grad)
    assert embeddings.grad is None


def test_random_weights_are_the_same_every_time_and_leave_no_trace() -> None:
    state, dtype = torch.random.get_rng_state(), torch.get_default_dtype()
    first, second = (replace(SETUP, dtype="bfloat16").model() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_default_dtype() == dtype
    for (name, one), other in zip(first.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other), name
    assert first.encoder.dtype == first.language_model.dtype == torch.bfloat16
    assert first.gates.dtype == torch.float32
    assert first.gates.abs().min() > 0
    alone = replace(SETUP, dtype="bfloat16").language_model()
    torch.testing.assert_close(alone.state_dict(), first.language_model.state_dict())
    assert not any(p.requires_grad for p in alone.parameters())


def test_real_weights(tmp_path: Path) -> None:
    places = save_backbones(tmp_path)
    setup = Setup(encoder=places["encoder"], llm=places["language_model"])
    expected = make_language_model().state_dict()
    for found in (setup.language_model(), setup.model().language_model):
        torch.testing.assert_close(found.state_dict(), expected)


def test_what_a_forward_pass_reads() -> None:
    untied, tied = make_language_model(), make_language_model(tie_word_embeddings=True)
    table = untied.get_input_embeddings().weight.nbytes
    total = sum(p.nbytes for p in untied.parameters())
    assert read_bytes(untied) == read_bytes(tied) == total - table


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"dtype": "int8"}, "dtype is 'int8'; expected one of float32"),
        ({"device": "nowhere"}, "device 'nowhere' cannot be used here"),
        ({"device": "meta"}, "device 'meta' cannot be used here"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(SETUP, **changes)


def test_what_cannot_be_made() -> None:
    with pytest.raises(BackboneError, match="no causal language model"):
        replace(SETUP, llm="clip_vision_model:layers=2,width=32,heads=4").model()
    with pytest.raises(ConfigError, match="expected at least 5"):
        bench_generation(SETUP, repeats=4)


def test_more_than_an_encoder_can_read() -> None:
    bert = replace(SETUP, encoder="bert:layers=1,width=16,heads=2,vocab=50").model()
    with pytest.raises(ConfigError, match="513 tokens; expected at most 512"):
        make_inputs(bert, replace(LENGTHS, encoder=513), 1)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), BrokenProcessPool()]
)
def test_too_little_memory(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Setup) -> None:
        raise error

    monkeypatch.setattr(Setup, "model", fail)
    with pytest.raises(EvaluationError, match="take smaller batches"):
        bench_generation(SETUP)


@pytest.mark.slow
def test_memory_in_a_process_of_its_own() -> None:
    held = memory.memory_figures(_hold, _hold_less, 2**25)
    assert held["memory_ratio"] == pytest.approx(2, rel=0.2)
    assert held["bare_memory_gib"] * 2**30 == pytest.approx(2**26, rel=0.2)


def _hold(count: int) -> None:
    torch.ones(count)  # float32


def _hold_less(count: int) -> None:
    torch.ones(count // 2)
