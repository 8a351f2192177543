import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import layalign.data.tables
from factories import make_language_model
from layalign.errors import ConfigError, DataError, TrainingError
from layalign.eval import evaluate_checkpoint
from layalign.eval.journal import read_predictions
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor
from layalign.train.batches import StageDataset
from layalign.train.recipe import Recipe, save_recipe
from layalign.train.run import run_recipe


def run(values, **options):
    return run_recipe(Recipe.from_dict(values), **options)


def weights(folder):
    model = LayAlignModel.from_pretrained(folder)
    return {name: model.get_parameter(name) for name in model.trainable_names()}


def test_a_whole_run(values, backbones, tmp_path):
    seen = []
    summary = run(values, progress=lambda phase, done, text: seen.append((phase, done)))
    assert list(summary.stages) == ["finetune", "lexical", "translation", "task"]
    assert summary.stages["task"]["updates"] == 10
    assert set(summary.evaluation["languages"]) == {"en", "sw"}
    assert {phase for phase, _ in seen} == {
        *summary.stages,
        "evaluate LayAlign",
        "evaluate bare LLM",
    }
    assert all(0 <= done <= 1 for _, done in seen)
    folder = tmp_path / "out"
    assert json.loads((folder / "summary.json").read_text()) == summary.to_dict()

    model = LayAlignModel.from_pretrained(folder)
    assert model.config.aligner == "mlp"
    assert model.config.language_model == str(folder / "language_model")
    processor = LayAlignProcessor.from_pretrained(folder)
    assert processor.prompt_template == " ="
    assert processor.split_digits
    batch = processor("tatu mbili", language="sw")
    assert model.generate(**batch, max_new_tokens=3).shape[0] == 1


def test_what_a_run_says_of_itself(values, tmp_path):
    summary = run(values)
    model = LayAlignModel.from_pretrained(tmp_path / "out")
    trained = sum(model.get_parameter(name).numel() for name in model.trainable_names())
    assert summary.system == "layalign"
    assert summary.trained_parameters == trained
    stages = [summary.stages[name] for name in ("finetune", "translation", "task")]
    assert summary.training_seconds == pytest.approx(sum(stage["seconds"] for stage in stages))
    assert all(stage["flops"] > 0 for stage in stages)
    assert summary.peak_memory_gib > 0.05
    assert set(summary.evaluation["systems"]) == {"layalign", "bare_llm"}
    for name, figures in summary.evaluation["systems"].items():
        rows = read_predictions(tmp_path / "out" / "predictions" / f"{name}.jsonl")
        assert len(rows) == figures["items"] == 6
        assert figures["tokens_per_second"] > 0


@pytest.mark.slow
def test_a_killed_evaluation_goes_on(values, tmp_path):
    summary = run(values)
    folder = tmp_path / "out"
    file = folder / "predictions" / "layalign.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    kept = [line.replace('"output": "', '"output": "kept ') for line in lines[:4]]
    file.write_text("".join(kept) + lines[4][:9])
    (folder / "summary.json").unlink()
    resumed = run(values, resume=True)
    outputs = [row.output for row in read_predictions(file)]
    assert sum(output.startswith("kept ") for output in outputs) == 4
    assert resumed.evaluation["languages"] != {}
    assert resumed.stages["task"] == summary.stages["task"]


@pytest.mark.slow
def test_answers_of_other_weights_are_not_kept(values, tmp_path):
    run(values)
    folder = tmp_path / "out"
    file = folder / "predictions" / "layalign.jsonl"
    file.write_text(file.read_text().replace('"output": "', '"output": "stale '))
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "task")
    run(values, resume=True)
    assert not any(row.output.startswith("stale") for row in read_predictions(file))


@pytest.mark.slow
def test_a_run_that_was_out_of_memory_goes_on_with_less(values, tmp_path):
    run(values)
    (tmp_path / "out" / "summary.json").unlink()
    shutil.rmtree(tmp_path / "out" / "task")
    values["stage"]["task"] |= {"micro_batch_size": 1, "gradient_checkpointing": True}
    assert run(values, resume=True).stages["task"]["updates"] == 10
    values["stage"]["task"]["lr"] = 1e-5
    (tmp_path / "out" / "summary.json").unlink()
    with pytest.raises(ConfigError, match=r"in stage\.task\.lr;"):
        run(values, resume=True)


@pytest.mark.slow
def test_a_run_goes_on_in_the_arithmetic_of_its_beginning(values, tmp_path, monkeypatch):
    values["dtype"] = "fastest"
    name = "layalign.train.arithmetic.fastest_arithmetic"
    monkeypatch.setattr(name, lambda _: ("bfloat16", "eager"))
    run(values)
    (tmp_path / "out" / "summary.json").unlink()
    monkeypatch.setattr(name, lambda _: ("float32", None))
    run(values, resume=True)
    assert (
        LayAlignModel.from_pretrained(tmp_path / "out").config.text_config.dtype == torch.bfloat16
    )


@pytest.mark.slow
def test_operations_end_a_run(values):
    per_update = run(values).stages["task"]["flops"] / 10
    values["output_dir"] += "2"
    values["stage"]["task"] |= {"epochs": None, "max_flops": 3.5 * per_update}
    assert 3 <= run(values).stages["task"]["updates"] <= 5


def test_the_fine_tuned_language_model_is_another(values, backbones, tmp_path):
    run(values)
    tuned = LayAlignModel.from_pretrained(tmp_path / "out").language_model
    found = make_language_model()
    assert not torch.equal(tuned.lm_head.weight, found.lm_head.weight)


def test_dry_run_writes_nothing(values, tmp_path):
    summary = run(values, dry_run=True)
    assert summary.dry_run
    assert summary.stages["task"] == {"examples": 20, "updates": 10}
    assert summary.stages["finetune"] == {"examples": 10, "updates": 5}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dry_run", [True, False])
def test_test_questions_in_the_training_data(values, dry_run, tmp_path):
    values["data"]["on_leak"] = "refuse"
    with pytest.raises(DataError, match=r"6 of 6 test questions .*data\.jsonl, line 1 is"):
        run(values, dry_run=dry_run)
    assert not (tmp_path / "out").exists()


def test_a_mixture_is_what_is_trained_on(values):
    values["data"]["task"] = {**values["data"]["task"], "mix": {"temperature": 5, "total": 12}}
    assert run(values, dry_run=True).stages["task"] == {"examples": 12, "updates": 6}


@pytest.fixture
def on_disk(monkeypatch):
    """However few examples there are, they go to disk."""
    pytest.importorskip("datasets", reason="needs the data extra")
    return lambda: monkeypatch.setattr(layalign.data.tables, "MEMORY", 0)


@pytest.mark.parametrize("dry_run", [True, False])
def test_from_disk_it_is_the_same_run(values, dry_run, on_disk, tmp_path):
    values["data"]["translation"] = {**values["data"]["task"], "mix": {"temperature": 5}}
    values["stage"]["task"] = {**values["stage"]["translation"], "text_dropout": 0.5}
    del values["stage"]["finetune"], values["data"]["finetune"]
    values["data"]["evaluation"] = []
    values["processor"]["encoder_max_length"] = 5
    memory = run(values, dry_run=dry_run)
    on_disk()
    values["output_dir"] = str(tmp_path / "disk")
    disk = run(values, dry_run=dry_run)
    assert memory.plan == disk.plan
    for stages in (memory.stages, disk.stages):
        for stage in stages.values():
            stage.pop("seconds", None)
    assert memory.stages == disk.stages
    if not dry_run:
        assert disk.stages["task"]["truncations"]["encoder"]
        found, expected = weights(tmp_path / "disk"), weights(tmp_path / "out")
        assert all(torch.equal(found[name], expected[name]) for name in expected)
        assert not (tmp_path / "disk" / ".examples").exists()


def test_a_resumed_run_finds_its_ids_again(values, on_disk, tmp_path, monkeypatch):
    on_disk()
    values["data"]["evaluation"] = []

    def stop(phase, done, text):
        if phase == "task" and done >= 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(values, progress=stop)
    names = {path.name.split("-")[0] for path in (tmp_path / "out" / ".examples").iterdir()}
    assert names == {"finetune", "translation", "task", "tokens"}

    def refuse(*args):
        raise AssertionError("tokenised again")

    monkeypatch.setattr(StageDataset, "_encode", refuse)
    assert run(values, resume=True).stages["task"]["updates"] == 10
    assert not (tmp_path / "out" / ".examples").exists()


def test_refused_data_leaves_nothing_on_disk(values, on_disk, tmp_path):
    on_disk()
    values["data"]["on_leak"] = "refuse"
    with pytest.raises(DataError, match="test questions"):
        run(values)
    assert not (tmp_path / "out").exists()


def test_a_stage_can_be_left_out(values, tmp_path):
    values["stage"] = {"translation": values["stage"]["translation"]}
    values["data"]["evaluation"] = []
    summary = run(values)
    assert list(summary.stages) == ["lexical", "translation"]
    assert summary.evaluation is None
    assert LayAlignProcessor.from_pretrained(tmp_path / "out").prompt_template == ""


def test_a_damaged_figure_of_the_warm_start_is_left_out(values, tmp_path):
    values["stage"] = {"translation": values["stage"]["translation"]}
    values["data"]["evaluation"] = []
    run(values)
    for content in ("[1]", "[" * 99999):
        (tmp_path / "out" / "summary.json").unlink()
        (tmp_path / "out" / "lexical.json").write_text(content)
        assert list(run(values, resume=True).stages) == ["translation"]


@pytest.mark.slow
def test_resume_after_kill_9(values, tmp_path):
    """Killed in the second stage, the run goes on there and ends as if nothing had happened."""
    values["data"]["evaluation"] = []
    values["stage"]["task"]["epochs"] = 10
    recipe = tmp_path / "recipe.yaml"
    save_recipe(recipe, Recipe.from_dict(values))
    program = (
        "from layalign.train.recipe import load_recipe\n"
        "from layalign.train.run import run_recipe\n"
        f"run_recipe(load_recipe({str(recipe)!r}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment)
    folder = tmp_path / "out"
    deadline = time.monotonic() + 120
    while not (folder / "task" / "checkpoint-6").is_dir() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    translation = (folder / "translation" / "checkpoint-10").stat().st_mtime
    seen = []
    resumed = run(values, resume=True, progress=lambda phase, *_: seen.append(phase))
    assert set(seen) == {"task"}
    assert (folder / "translation" / "checkpoint-10").stat().st_mtime == translation

    values["output_dir"] = str(tmp_path / "whole")
    whole = run(values)
    assert resumed.stages["task"]["losses"] == whole.stages["task"]["losses"]
    assert resumed.stages["lexical"] == whole.stages["lexical"]
    found, expected = weights(folder), weights(tmp_path / "whole")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_resume_with_another_recipe(values):
    run(values)
    values["stage"]["task"]["lr"] = 1e-3
    with pytest.raises(ConfigError, match=r"differs .* in stage\.task\.lr; set it back"):
        run(values, resume=True)


def test_a_finished_run_is_not_overwritten(values):
    values["stage"].pop("finetune")
    run(values)
    with pytest.raises(TrainingError, match="already holds a run; resume it"):
        run(values)


def test_wrong_data_shows_before_anything_is_loaded(values, tmp_path):
    values["model"]["encoder"] = str(tmp_path / "none")
    values["data"]["task"]["train"] = [{"path": str(tmp_path / "none.jsonl")}]
    with pytest.raises((ConfigError, DataError), match=r"none\.jsonl"):
        run(values)
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_written(values, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(TrainingError, match="cannot write to"):
        run(values)


def test_a_fine_tune_alone(plain_values, tmp_path):
    seen = []
    summary = run(plain_values, progress=lambda phase, *_: seen.append(phase))
    folder = tmp_path / "out" / "language_model"
    assert list(summary.stages) == ["finetune"]
    assert summary.stages["finetune"]["updates"] == 10
    assert set(seen) == {"finetune", "evaluate bare LLM"}
    assert summary.checkpoint == str(folder)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("language_model", "predictions", "recipe.yaml", "status.json", "summary.json"),
    ]
    tuned = AutoModelForCausalLM.from_pretrained(folder)
    assert not torch.equal(tuned.lm_head.weight, make_language_model().lm_head.weight)
    assert AutoTokenizer.from_pretrained(folder).eos_token == "</s>"
    rows = summary.evaluation["languages"]
    assert {tag: row["trained"] for tag, row in rows.items()} == {"en": True, "sw": True}
    assert all(row["layalign"] is None for row in rows.values())

    # Later it is asked with the prompt that it was trained with.
    source = plain_values["data"]["evaluation"][0]["path"]
    again = evaluate_checkpoint(folder, data=source, limit=3, max_new_tokens=4)
    for tag, row in again["languages"].items():
        for figure in ("items", "accuracy", "unparsed", "new_tokens"):
            assert row["bare"][figure] == rows[tag]["bare"][figure]
    assert again["recipe"]["stage"]["task"] is None


def test_a_fine_tune_that_is_done_is_left_alone(plain_values, tmp_path):
    summary = run(plain_values)
    weights = tmp_path / "out" / "language_model" / "model.safetensors"
    written = weights.stat().st_mtime_ns
    seen = []
    resumed = run(plain_values, resume=True, progress=lambda phase, *_: seen.append(phase))
    assert resumed.to_dict() == summary.to_dict()
    assert seen == []
    # Killed in the evaluation, only that is done again.
    (tmp_path / "out" / "summary.json").unlink()
    resumed = run(plain_values, resume=True, progress=lambda phase, *_: seen.append(phase))
    assert resumed.stages == summary.stages
    assert set(seen) == {"evaluate bare LLM"}
    assert weights.stat().st_mtime_ns == written
    with pytest.raises(TrainingError, match="already holds a run"):
        run(plain_values)


def test_a_run_may_start_from_the_fine_tune_of_another(values, plain_values, backbones, tmp_path):
    run({**plain_values, "data": {**plain_values["data"], "evaluation": []}})
    tuned = tmp_path / "out" / "language_model"
    stage = values["stage"]["finetune"]
    model = {"encoder": str(backbones / "encoder"), "language_model": str(tuned)}
    data = {"train": values["data"]["finetune"]["train"]}
    further = {
        **{"output_dir": str(tmp_path / "further"), "model": model},
        **{"data": {"task": data}, "stage": {"task": {**stage, "epochs": 1}}},
    }
    run(further)
    assert LayAlignModel.from_pretrained(tmp_path / "further").config.language_model == str(tuned)
    more = {
        **{"output_dir": str(tmp_path / "more"), "model": {"language_model": str(tuned)}},
        **{"data": {"finetune": data}, "stage": {"finetune": stage}},
    }
    before, after = (AutoModelForCausalLM.from_pretrained(p) for p in (tuned, run(more).checkpoint))
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)
