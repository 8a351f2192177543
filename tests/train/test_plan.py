"""Dry runs: what a recipe would do, from whatever of it is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, MT5Config

from factories import (
    REAL_DATA_RECIPES,
    make_encoder,
    make_language_model,
    make_model,
    make_tokenizer,
)
from layalign.cli.main import main
from layalign.errors import ConfigError, DataError
from layalign.processing import LayAlignProcessor
from layalign.train.methods import METHODS
from layalign.train.recipe import Recipe, load_recipe
from layalign.train.run import run_recipe
from layalign.train.summary import RunSummary

RECIPES = Path(__file__).parents[2] / "recipes"

MT5_XL = {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32}
LLAMA_7B = {
    "vocab_size": 32001,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}


@pytest.fixture(scope="module")
def paper_backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The configurations of the paper's pair, and nothing else."""
    root = tmp_path_factory.mktemp("paper")
    MT5Config(vocab_size=250112, **MT5_XL).save_pretrained(root / "encoder")
    LlamaConfig(**LLAMA_7B).save_pretrained(root / "llm")
    return {"encoder": str(root / "encoder"), "language_model": str(root / "llm")}


@pytest.fixture
def tiny_backbones(tmp_path: Path) -> dict[str, str]:
    """Configurations and tokenizers of two tiny models."""
    for name, model, specials in (
        ("encoder", make_encoder(), True),
        ("language_model", make_language_model(), False),
    ):
        model.config.save_pretrained(tmp_path / name)
        make_tokenizer(specials=specials).save_pretrained(tmp_path / name)
    return {name: str(tmp_path / name) for name in ("encoder", "language_model")}


def values(backbones: dict[str, str], **data: Any) -> dict[str, Any]:
    """A recipe of both stages in the working directory."""
    here = {"path": "there.jsonl"}
    return {
        "output_dir": "out",
        "model": backbones,
        "processor": {"prompt_template": "{question} =", "target_max_length": 20},
        "data": {"translation": {"train": [here]}, "task": {"train": [here]}, **data},
        "stage": {"translation": {"batch_size": 4}, "task": {"batch_size": 4}},
    }


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"text": "tatu " * (1 + i % 5), "language": "sw", "target": "three", "answer": "3"}
        for i in range(10)
    ]
    Path("there.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def plan(values: dict[str, Any]) -> RunSummary:
    summary = run_recipe(Recipe.from_dict(values), dry_run=True)
    assert json.loads(json.dumps(summary.to_dict())) == summary.to_dict()
    assert not Path(values["output_dir"]).exists()
    return summary


def test_the_papers_pair(paper_backbones: dict[str, str]) -> None:
    """Parameters as in the paper's appendix A.4: 25.18 M and 8.39 M."""
    summary = plan({**values(paper_backbones), "dtype": "bfloat16"})
    counts = summary.plan["parameters"]
    assert counts["adapter"] == 2048 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096
    assert counts["aligner"] == 24 * 64 + 64 + 2048 * 4096 + 4096
    assert round(counts["adapter"] / 1e6, 2) == 25.18
    assert round(counts["aligner"] / 1e6, 2) == 8.39
    assert counts["gates"] == 32
    assert counts["trained"] == counts["adapter"] + counts["aligner"] + counts["gates"]
    assert round(counts["encoder"] / 1e9, 2) == 1.67
    assert round(counts["language_model"] / 1e9, 2) == 6.74
    memory = summary.plan["stages"]["task"]["memory_per_device"]
    backbones = 2 * (counts["encoder"] + counts["language_model"])
    assert memory["weights"] == backbones + 4 * counts["trained"]
    assert memory["total"] == sum(size for part, size in memory.items() if part != "total")
    # There are no tokenizers beside the configurations, so lengths are those allowed.
    assert summary.plan["stages"]["translation"]["tokens_from"] == "lengths"
    assert any(what.startswith("tokenizers: cannot load") for what in summary.plan["missing"])


def test_what_each_method_trains_of_the_papers_pair(paper_backbones: dict[str, str]) -> None:
    """By the paper's appendix A.4, and for a language model's own weights by its shapes."""
    width, inner, n_layers, rank = 4096, 11008, 32, 8
    attention, feed_forward = 4 * width**2, 3 * width * inner
    everything = n_layers * (attention + feed_forward + 2 * width) + 2 * 32001 * width + width
    lora = n_layers * rank * (4 * 2 * width + 3 * (width + inner))
    adapter = 2048 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096
    composite = adapter + 24 * 64 + 64 + 2048 * 4096 + 4096 + 32
    assert round(adapter / 1e6, 2) == 25.18
    assert round(composite / 1e6, 2) == 33.57
    expected = {
        **dict.fromkeys(("base", "multilingual_sft", "qalign", "mindmerger_hard"), everything),
        **{"multilingual_lora": lora, "translate_test": composite, "layalign": composite},
        **dict.fromkeys(("langbridge", "mindmerger"), adapter),
    }
    recipe = values(paper_backbones, finetune={"train": [{"path": "there.jsonl"}]})
    recipe["stage"]["finetune"] = {"batch_size": 4}
    found = {}
    for method in METHODS:
        summary = plan({**recipe, "method": method, "dtype": "bfloat16"})
        found[method] = summary.plan["parameters"]["trained"]
        last = summary.plan["stages"][list(summary.stages)[-1]]
        assert last["memory_per_device"]["gradients"] == 4 * found[method]
    assert found == expected


def test_tokens_are_those_of_the_data(tiny_backbones: dict[str, str]) -> None:
    summary = plan(values(tiny_backbones))
    assert summary.stages["task"] == {"examples": 10, "updates": 8}
    stages = summary.plan["stages"]
    processor = LayAlignProcessor.from_backbones(*tiny_backbones.values())
    lengths = [len(processor.encode("tatu " * n)["encoder_input_ids"]) for n in range(1, 6)]
    # Three epochs of each text twice; the target is one word and EOS.
    assert stages["translation"]["tokens"] == 3 * 2 * sum(lengths) + 30 * 2
    assert stages["translation"]["longest"] == {"encoder": max(lengths), "prompt": 0, "target": 2}
    assert stages["task"]["longest"]["prompt"] == 5 + 1
    assert {stage["tokens_from"] for stage in stages.values()} == {"sample"}
    assert summary.plan["missing"] == []


def test_a_plan_reads_no_weights_and_changes_no_random_state(
    tiny_backbones: dict[str, str],
) -> None:
    before = torch.get_rng_state()
    plan(values(tiny_backbones))
    assert torch.equal(torch.get_rng_state(), before)
    assert not list(Path(tiny_backbones["encoder"]).glob("*.safetensors"))


def test_the_sizes_are_those_of_the_model_that_is_trained(tiny_backbones: dict[str, str]) -> None:
    recipe = values({**tiny_backbones, "aligner": "mlp", "adapter_width": 7})
    counts = plan(recipe).plan["parameters"]
    model = make_model(aligner="mlp", adapter_width=7)
    for part in ("adapter", "aligner", "encoder", "language_model"):
        assert counts[part] == sum(p.numel() for p in getattr(model, part).parameters())


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ({"path": "no.jsonl", "limit": 30, "languages": ["sw", "th"]}, 60),
        ({"path": "no.jsonl", "limit": 30, "language": "sw"}, 30),
        ({"path": "no.jsonl", "limit": 30}, None),
        ({"path": "no.jsonl", "languages": ["sw", "th"]}, None),
    ],
)
def test_data_that_is_not_there(
    source: dict[str, Any], count: int | None, tiny_backbones: dict[str, str]
) -> None:
    summary = plan(values(tiny_backbones, task={"train": [source, {"path": "there.jsonl"}]}))
    total = None if count is None else count + 10
    updates = None if total is None else -(-3 * total // 4)
    assert summary.stages["task"] == {"examples": total, "updates": updates}
    assert summary.plan["sources"][1] == {
        **{"stage": "task", "part": "train", "where": "no.jsonl"},
        **{"found": False, "examples": count},
    }
    assert summary.plan["missing"] == ["data: no.jsonl"]
    task = summary.plan["stages"]["task"]
    assert (task["tokens"] is None) == (total is None)
    assert task["memory_per_device"] is not None


def test_with_nothing_there_at_all() -> None:
    source = {"path": "no.jsonl", "limit": 8, "language": "sw"}
    recipe = values({"encoder": "some/encoder", "language_model": "./no/llm"})
    recipe["data"] = {name: {"train": [source]} for name in ("translation", "task")}
    recipe["data"]["evaluation"] = [source]
    recipe["stage"]["task"]["max_tokens"] = 100
    summary = plan(recipe)
    assert summary.plan["parameters"] is None
    assert summary.plan["missing"] == [
        *["data: no.jsonl"] * 3,
        "encoder: some/encoder",
        "language model: ./no/llm",
    ]
    stages = summary.plan["stages"]
    assert stages["translation"]["longest"] == {"encoder": 512, "prompt": 0, "target": 20}
    assert stages["translation"]["tokens"] == 3 * 8 * 532
    assert (stages["task"]["tokens"], stages["task"]["tokens_from"]) == (100, "limit")
    assert stages["task"]["memory_per_device"] is None


def test_open_ends(tiny_backbones: dict[str, str]) -> None:
    """Without a number of examples, a limit on updates still counts them; minutes count nothing."""
    recipe = values(tiny_backbones, task={"train": [{"path": "no.jsonl"}]})
    recipe["stage"]["task"] |= {"epochs": None, "max_updates": 5}
    recipe["stage"]["translation"] |= {"epochs": None, "max_minutes": 1}
    summary = plan(recipe)
    assert summary.stages["task"] == {"examples": None, "updates": 5}
    assert summary.stages["translation"] == {"examples": 10, "updates": None}
    assert summary.plan["stages"]["translation"]["tokens"] is None


def test_the_fine_tune(tiny_backbones: dict[str, str]) -> None:
    recipe = values(tiny_backbones, finetune={"train": [{"path": "there.jsonl"}]})
    recipe["stage"]["finetune"] = {"batch_size": 4, "epochs": 1}
    summary = plan(recipe)
    stage, counts = summary.plan["stages"]["finetune"], summary.plan["parameters"]
    assert stage["longest"] == {"encoder": 0, "prompt": 5 + 1, "target": 2}
    assert stage["memory_per_device"]["gradients"] == 4 * counts["language_model"]


def test_learning_the_answer(tiny_backbones: dict[str, str]) -> None:
    """Classification: the answer is the target; without one there is nothing to learn."""
    train = [{"path": "there.jsonl"}]
    summary = plan(values(tiny_backbones, task={"train": train, "learn": "answer"}))
    assert summary.plan["stages"]["task"]["longest"]["target"] == 2
    Path("there.jsonl").write_text('{"text": "tatu", "language": "sw", "target": "three"}\n')
    with pytest.raises(DataError, match="has no target to learn"):
        plan(values(tiny_backbones, task={"train": train, "learn": "answer"}))


def test_what_is_there_must_be_right(tiny_backbones: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="language_layers is"):
        plan(values({**tiny_backbones, "language_layers": [9]}))
    Path("there.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"there\.jsonl, line 1"):
        plan(values(tiny_backbones))


def test_command(
    tiny_backbones: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"path": "no.jsonl", "limit": 8, "language": "sw"}
    recipe = values(tiny_backbones, task={"train": [source]}, evaluation=[{"path": "gone.jsonl"}])
    Path("recipe.yaml").write_text(json.dumps(recipe))
    assert main(["train", "recipe.yaml", "--dry-run", "--quiet"]) == 0
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:2] == ["translation: 10 examples, updates: 8", "task: 8 examples, updates: 6"]
    assert "task (train) no.jsonl not found, 8 by its limit" in lines
    assert "evaluation (test) gone.jsonl not found" in lines
    assert any(line.startswith("trained ") for line in lines)
    assert "not found: data: no.jsonl" in lines
    assert max(map(len, out.splitlines())) <= 100
    assert main(["train", "recipe.yaml", "--dry-run", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["missing"][0] == "data: no.jsonl"


@pytest.mark.parametrize("name", ["tiny", "quickstart"])
def test_shipped_recipes_without_their_models(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYALIGN_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("layalign.train.arithmetic.fastest_arithmetic", lambda _: ("float32", None))
    summary = run_recipe(load_recipe(RECIPES / f"{name}.yaml"), dry_run=True)
    assert summary.plan["parameters"]["language_model"] == 134_515_008
    assert any("smollm2-135m-instruct" in what for what in summary.plan["missing"])
    assert all(stage["examples"] for stage in summary.stages.values())
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("name", REAL_DATA_RECIPES)
def test_recipes_on_real_data(
    name: str, paper_backbones: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without their data; the paper's recipes in the paper's sizes."""
    monkeypatch.setattr("layalign.train.arithmetic.fastest_arithmetic", lambda _: ("float32", None))
    overrides = [f"model.{role}={folder}" for role, folder in paper_backbones.items()]
    recipe = load_recipe(RECIPES / f"{name}.yaml", overrides)
    summary = run_recipe(recipe, dry_run=True)
    assert round(summary.plan["parameters"]["adapter"] / 1e6, 2) == 25.18
    assert round(summary.plan["parameters"]["aligner"] / 1e6, 2) == 8.39
    if name.startswith("paper"):
        n_languages = {"paper_math": 9, "paper_xcsqa": 15, "paper_xnli": 14}[name]
        pairs = n_languages * 100_000
        updates = -(-3 * pairs // 128)
        assert summary.stages["translation"] == {"examples": pairs, "updates": updates}
        for stage in summary.plan["stages"].values():
            assert stage["memory_per_device"]["total"] < 48e9  # the paper's devices


@pytest.mark.parametrize("name", [name for name in REAL_DATA_RECIPES if name.startswith("paper")])
def test_the_papers_settings(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    length = 512 if name == "paper_math" else 200
    for stage, lr, longest in (("translation", 4e-5, 200), ("task", 3e-5, length)):
        config = getattr(recipe.stage, stage)
        found = (config.lr, config.batch_size, config.epochs, config.warmup, config.schedule)
        assert found == (lr, 128, 3, 0.05, "cosine")
        assert (config.betas, config.eps, config.weight_decay) == ((0.8, 0.999), 1e-8, 3e-7)
        assert (config.max_grad_norm, config.gate_lr) == (1.0, None)
        assert config.encoder_max_length == config.target_max_length == longest
        assert config.text_input
    assert recipe.dtype == "bfloat16"
    assert recipe.model.aligner == "linear"
    assert recipe.model.encoder == "google/mt5-xl"
    assert recipe.data.translation.train[0].limit == 100_000
    task = recipe.data.task.train[0]
    assert set(task.languages) == {*recipe.data.translation.train[0].languages, "en"}
    assert task.limit == (30_000 if name == "paper_math" else None)


def test_a_fine_tune_alone(tiny_backbones: dict[str, str]) -> None:
    """The same figures as in front of other stages, without an encoder."""
    data = {"finetune": {"train": [{"path": "there.jsonl"}]}}
    both = values(tiny_backbones, **data)
    both["stage"]["finetune"] = {"batch_size": 4}
    alone = {**both, "stage": {"finetune": {"batch_size": 4}}}
    alone["model"] = {"language_model": tiny_backbones["language_model"]}
    found, expected = plan(alone), plan(both)
    assert found.stages == {"finetune": expected.stages["finetune"]}
    assert found.plan["stages"] == {"finetune": expected.plan["stages"]["finetune"]}
    count = expected.plan["parameters"]["language_model"]
    assert found.plan["parameters"] == {"language_model": count, "trained": count}
    assert found.plan["missing"] == []
    alone["model"] = {"language_model": "no/where"}
    assert plan(alone).plan["missing"] == ["language model: no/where"]
