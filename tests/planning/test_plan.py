"""Plans of the paper's run and of tiny ones, and the command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from factories import make_encoder, make_language_model
from layalign.bench.machine import Machine
from layalign.cli.main import main
from layalign.errors import ConfigError
from layalign.model.known_sizes import KNOWN_SIZES, known_config
from layalign.planning import DEVICES, Setup, find_device, plan_training
from layalign.planning.machine import measured_cpu
from layalign.train.recipe import Recipe, load_recipe

L40 = find_device("l40-48gb")
# Assumed, because the paper does not say how long its examples are: sentences of a web corpus, and
# questions in many languages with solutions in English.
MEANS = {"translation": (100, 0, 100), "task": (80, 250, 190)}
PAPER_HOURS = {"translation": 9, "task": 8}


def paper(means: Any = None, **changes: Any) -> dict[str, Any]:
    setup = Setup(**{"device": L40, "devices": 8, **changes})
    return plan_training(load_recipe("paper_math"), setup, means=means)


@pytest.fixture(scope="module")
def papers_plan() -> dict[str, Any]:
    return paper(MEANS)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe whose models are two configuration files in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, model in (("encoder", make_encoder()), ("llm", make_language_model())):
        model.config.to_json_file(tmp_path / f"{name}.json", use_diff=False)
    source = {"path": "no.jsonl", "limit": 50, "languages": ["sw", "th"]}
    return {
        "output_dir": "out",
        "dtype": "bfloat16",
        "model": {"encoder": "encoder.json", "language_model": "llm.json"},
        "data": {"task": {"train": [source]}, "translation": {"train": [source]}},
        "stage": {"task": {"batch_size": 8, "micro_batch_size": 2}},
    }


def plan(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    setup = Setup(**{"device": L40, "devices": 2, **changes})
    found = plan_training(Recipe.from_dict(values), setup)
    assert json.loads(json.dumps(found)) == found
    return found


def rows(found: dict[str, Any], stage: str = "task") -> dict[str, dict[str, Any]]:
    return {row["strategy"]: row for row in found["stages"][stage]["strategies"]}


def test_the_papers_sizes_are_known(papers_plan: dict[str, Any]) -> None:
    """Its appendix A.4: 25.18 M and 8.39 M; nothing is on this machine."""
    counts = papers_plan["parameters"]
    assert round(counts["adapter"] / 1e6, 2) == 25.18
    assert round(counts["aligner"] / 1e6, 2) == 8.39
    assert round(counts["encoder"] / 1e9, 2) == 1.67
    assert "encoder: google/mt5-xl" in papers_plan["missing"]
    for name in KNOWN_SIZES:
        assert known_config(name) is not None
    assert known_config("some/model") is None


def test_the_papers_hours(papers_plan: dict[str, Any]) -> None:
    """Nine and eight on 8 x L40, of which the plan is to be no more than a half away."""
    for name, published in PAPER_HOURS.items():
        stage = papers_plan["stages"][name]
        assert stage["tokens_from"] == "given"
        own = rows(papers_plan, name)["ddp"]
        assert own["fits"]
        assert own["hours"] == pytest.approx(published, rel=0.5)
        reached = stage["flops"] / (published * 3600 * 8 * L40.flops)
        assert 0.2 < reached < 0.6


def test_the_papers_operations(papers_plan: dict[str, Any]) -> None:
    """The large parts once more: 4 a weight of the language model, 2 of the encoder."""
    layer = 4 * 4096**2 + 3 * 4096 * 11008
    block = 4 * 2048**2 + 3 * 2048 * 5120
    states = 64 * (6 * 2048 * 4096 + 4 * 4096**2)  # of the aligner, and of what reads them
    adapter = 6 * (2048 * 4096 + 4096**2)
    encoder, _, target = MEANS["translation"]
    positions = encoder + target + 2
    expected = positions * 32 * 4 * layer + target * 4 * 32001 * 4096
    expected += encoder * (24 * 2 * block + states + adapter)
    expected += 12 * 32 * 4096 * positions * (positions + encoder)
    found = papers_plan["stages"]["translation"]
    assert found["operations_per_example"] == pytest.approx(expected, rel=0.01)
    assert found["examples"] == 3 * 900_000


def test_time_follows_devices_peak_and_price(tiny: dict[str, Any]) -> None:
    fast = dataclasses.replace(L40, bandwidth=1e30, interconnect=1e30)
    one, four = (plan(tiny, device=fast, devices=n, price=2.0) for n in (1, 4))
    alone, shared = rows(one)["alone"], rows(four)["ddp"]
    assert alone["seconds_per_update"] == pytest.approx(4 * shared["seconds_per_update"])
    assert alone["cost"] == pytest.approx(shared["cost"])
    assert alone["cost"] == pytest.approx(2 * alone["hours"])
    assert alone["mfu"] == pytest.approx(0.6)
    half = plan(tiny, device=fast, devices=1, utilisation=0.3)
    assert rows(half)["alone"]["hours"] == pytest.approx(2 * alone["hours"])
    full = plan({**tiny, "dtype": "float32"}, device=fast, devices=1)
    assert rows(full)["alone"]["hours"] == pytest.approx(2 * alone["hours"])


def test_a_slow_interconnect_is_what_one_waits_for(tiny: dict[str, Any]) -> None:
    slow = dataclasses.replace(L40, interconnect=1.0)
    for row in rows(plan(tiny, device=slow)).values():
        assert row["seconds_per_update"] == row["communication_seconds"] > row["compute_seconds"]


def test_what_does_not_fit(tiny: dict[str, Any]) -> None:
    total = rows(plan(tiny))["ddp"]["memory"]["total"]
    for memory, fits in ((total / 0.94, True), (total / 0.96, False)):
        device = dataclasses.replace(L40, memory=memory)
        found = plan(tiny, device=device)
        assert rows(found)["ddp"]["fits"] is fits
        assert found["total"]["ddp"]["fits"] is fits


def test_what_can_be_done_about_it(
    capsys: pytest.CaptureFixture[str], tiny: dict[str, Any]
) -> None:
    values = {"batch_size": 2**30, "micro_batch_size": 2**29}
    Path("own.yaml").write_text(json.dumps({**tiny, "stage": {"task": values}}))
    assert main(["plan", "--recipe", "own.yaml", "--gpus", "2"]) == 0
    assert "task fits under no strategy: set a smaller" in capsys.readouterr().out


def test_ends_of_a_stage(tiny: dict[str, Any]) -> None:
    task = tiny["stage"]["task"]
    found = plan(tiny)["stages"]["task"]
    assert found["examples"] == 3 * 2 * 50
    assert found["tokens_from"] == "lengths"
    tokens = sum(found["mean"])
    tiny["stage"]["task"] = {**task, "max_tokens": round(10 * tokens)}
    assert plan(tiny)["stages"]["task"]["examples"] == pytest.approx(10)
    tiny["stage"]["task"] = {**task, "max_flops": 5 * found["operations_per_example"]}
    assert plan(tiny)["stages"]["task"]["examples"] == pytest.approx(5)
    tiny["stage"]["task"] = {**task, "epochs": None, "max_minutes": 90}
    found = plan(tiny)
    assert found["stages"]["task"]["examples"] is None
    assert found["total"]["ddp"]["hours"] == 1.5


def test_data_of_unknown_size(tiny: dict[str, Any]) -> None:
    tiny["data"]["task"]["train"] = [{"path": "no.jsonl"}]
    found = plan(tiny)
    assert found["stages"]["task"]["flops"] is None
    assert found["total"]["ddp"]["hours"] is None
    assert rows(found)["ddp"]["seconds_per_update"] > 0


def test_a_fine_tune_of_everything_needs_sharing(tiny: dict[str, Any]) -> None:
    """With Llama 2 it fits an L40 only when it is shared out; then the moments are 8 bytes."""
    tiny["model"] = {"language_model": "meta-llama/Llama-2-7b-hf"}
    tiny["data"]["finetune"] = tiny["data"].pop("task")
    tiny["stage"] = {"finetune": {"batch_size": 64, "micro_batch_size": 1}}
    found = rows(plan(tiny, devices=8), "finetune")
    assert {name: row["fits"] for name, row in found.items()} == {
        **{"ddp": False, "zero2": False},
        **{"fsdp2": False, "zero3": True},  # FSDP2 keeps whole gradients between its passes
    }
    assert found["zero3"]["memory"]["optimizer"] == 8 * 6_738_415_616 // 8


def test_sizes_in_numbers(tiny: dict[str, Any]) -> None:
    tiny["model"]["language_model"] = "llama:layers=3,width=32,heads=4,ff=48,vocab=99"
    three = plan(tiny)
    tiny["model"]["language_model"] = "llama:layers=6,width=32,heads=4,ff=48,vocab=99"
    six = plan(tiny)
    layer = 4 * 32**2 + 3 * 32 * 48 + 2 * 32
    counts = [found["parameters"]["language_model"] for found in (three, six)]
    assert counts[1] - counts[0] == 3 * layer


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"float32": Machine(device="cpu", flops=2e9, bytes=3e9)}
    found["bfloat16"] = dataclasses.replace(found["float32"], flops=1e9)
    monkeypatch.setattr(Machine, "measure", lambda setup: found[setup.dtype])
    device = measured_cpu()
    assert (device.peak(4), device.peak(2), device.bandwidth) == (2e9, 1e9, 6e9)
    assert device.memory > 1e8


def test_mistakes(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"unknown GPU 'l40'; known are l4-24gb, .*h200"):
        find_device("l40")
    assert find_device("L40-48GB") is DEVICES["l40-48gb"]
    with pytest.raises(ConfigError, match="gpus is 0; expected at least 1"):
        Setup(device=L40, devices=0)
    for wrong in ({"utilisation": 1.5}, {"utilisation": 0.0}, {"price": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Setup(device=L40, **wrong)
    with pytest.raises(ConfigError, match="batch_size 8 cannot be shared by 3 processes"):
        plan(tiny, devices=3)
    setup = Setup(device=L40)
    with pytest.raises(ConfigError, match="for 'tesk', but the stages of this run are task; did"):
        plan_training(Recipe.from_dict(tiny), setup, means={"tesk": (1, 2, 3)})
    with pytest.raises(ConfigError, match=r"mean lengths of task are .0, 0, 0.; expected"):
        plan_training(Recipe.from_dict(tiny), setup, means={"task": (0, 0, 0)})
    tiny["model"]["language_model"] = "some/model"
    with pytest.raises(ConfigError, match=r"the sizes of some/model are not known; give a config"):
        plan(tiny)
    with pytest.raises(ConfigError, match=r"paper_moth: cannot be read.*did you mean 'paper_math'"):
        load_recipe("paper_moth")


def test_command(tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.yaml").write_text(
        json.dumps({**tiny, "model": {"encoder": "a", "language_model": "b"}})
    )
    words = ["plan", "--recipe", "own.yaml", "--encoder", "encoder.json", "--llm", "llm.json"]
    assert main([*words, "--gpus", "2", "--mean", "task=7+8+9.5", "--interconnect", "16"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert "2 x l40-48gb: 48 GB" in out
    assert "16 GB/s between devices" in out
    assert "7+8+9.5 tokens" in out
    assert all(label in out for label in ("DDP", "FSDP2", "ZeRO-2", "ZeRO-3"))
    assert main([*words, "--json", "--gpus", "1", "--gpu", "h100-80gb"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["total"]) == ["alone"]
    assert found["device"]["memory"] == 80e9
    assert main([*words, "--gpu", "abacus"]) == 2
    assert "unknown GPU 'abacus'" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["--gpus=0", "--mean=task=1+2", "--mean=1+2+3", "--mean=a=.+1+1"])
def test_wrong_usage(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan", wrong])
    assert "expected" in capsys.readouterr().err
