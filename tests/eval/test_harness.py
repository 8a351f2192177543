"""lm-eval on a tiny checkpoint, with tasks in local files: nothing is fetched."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from layalign.errors import ConfigError

pytest.importorskip("lm_eval", reason="the harness is lm-eval (extra eval)")

from layalign.eval import evaluate_checkpoint
from layalign.eval.harness import HarnessModel, evaluate_with_harness, harness_table, register

# lm-eval and what it imports warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

ROWS = [
    {
        "text": f"{i} + 4 = ?",
        "language": "sw",
        "choices": ["mayai", "vitabu nne", "3 + 4"],
        "answer": "ABC"[i % 3],
        "label": i % 3,
        "sum": i + 4,
    }
    for i in range(8)
]
CHOICE = """
task: tiny_choice
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}} answer ="
doc_to_choice: choices
doc_to_target: label
metric_list: [{metric: acc}]
"""
GENERATE = """
task: tiny_generate
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: generate_until
doc_to_text: "{{text}} answer ="
doc_to_target: "{{sum}}"
generation_kwargs: {until: ["?"], max_gen_toks: 4, do_sample: false}
metric_list: [{metric: exact_match}]
"""
NATIVE = """
name: native
data: {path: DATA}
metric: choice
templates: {plain: {llm: "{question} answer ="}}
scoring: loglikelihood
continuation: " {choice}"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import datasets
    from lm_eval import tasks as harness_tasks

    # Reading the thousands of files that lm-eval ships takes most of the time.
    own_only = partial(harness_tasks.TaskManager, include_defaults=False)
    monkeypatch.setattr(harness_tasks, "TaskManager", own_only)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for name, text in (("choice", CHOICE), ("generate", GENERATE)):
        (tasks / f"{name}.yaml").write_text(text.replace("DATA", str(data)), encoding="utf-8")
    (tmp_path / "native.yaml").write_text(NATIVE.replace("DATA", str(data)), encoding="utf-8")
    return tmp_path


def run(checkpoint: Path, folder: Path, task: str, **options: Any) -> dict[str, Any]:
    return evaluate_with_harness(checkpoint, [task], include=folder / "tasks", **options)


def test_harness_and_native_agree(tiny_checkpoint: Path, folder: Path) -> None:
    output = folder / "out.json"
    found = run(tiny_checkpoint, folder, "tiny_choice", encoder_field="text", output=output)
    assert "tiny_choice" in harness_table(found)
    native = evaluate_checkpoint(
        tiny_checkpoint, tasks=[str(folder / "native.yaml")], output=folder / "native"
    )["tasks"]["native"]["languages"]["sw"]
    accuracy = found["results"]["tiny_choice"]["acc,none"]
    assert 100 * accuracy == pytest.approx(native["layalign"]["accuracy"])
    samples = json.loads(output.read_text("utf-8"))["samples"]["tiny_choice"]
    theirs = {s["doc_id"]: max(range(3), key=lambda i: float(s["resps"][i][0][0])) for s in samples}
    ours = (folder / "native" / "native.layalign.jsonl").read_text("utf-8").splitlines()
    assert theirs == {row["index"]: "ABC".index(row["output"]) for row in map(json.loads, ours)}
    bare = run(tiny_checkpoint, folder, "tiny_choice", bare=True)
    accuracy = bare["results"]["tiny_choice"]["acc,none"]
    assert 100 * accuracy == pytest.approx(native["bare"]["accuracy"])


def test_generation(tiny_checkpoint: Path, folder: Path) -> None:
    output = folder / "out.json"
    template = "{text} {choices[0]}"
    run(tiny_checkpoint, folder, "tiny_generate", encoder_template=template, limit=3, output=output)
    samples = json.loads(output.read_text("utf-8"))["samples"]["tiny_generate"]
    model = register()(tiny_checkpoint)
    prompts = [f"{row['text']} answer =" for row in ROWS[:3]]
    texts = [f"{row['text']} mayai" for row in ROWS[:3]]
    for sample, prompt, text in zip(samples, prompts, texts, strict=True):
        batch = model.system.processor(text, question=prompt, prompt_template="{question}")
        ids = model.system.model.generate(**batch, max_new_tokens=4, do_sample=False)
        expected = model.system.processor.batch_decode(ids)[0].split("?")[0]
        assert sample["resps"][0][0] == expected


def test_a_plain_language_model(
    tiny_checkpoint: Path, tiny_language_model: Path, folder: Path
) -> None:
    """Its answers are those that it gives as the bare model inside a checkpoint."""
    found = []
    for place, bare in ((tiny_language_model, False), (tiny_checkpoint, True)):
        output = folder / f"{bare}.json"
        run(place, folder, "tiny_generate", bare=bare, limit=3, output=output)
        samples = json.loads(output.read_text("utf-8"))["samples"]["tiny_generate"]
        found.append([sample["resps"] for sample in samples])
    assert found[0] == found[1]
    with pytest.raises(ConfigError, match="has no encoder; leave out encoder_field"):
        register()(tiny_language_model, encoder_field="text")


def test_registered() -> None:
    from lm_eval.api.registry import get_model

    assert get_model("layalign") is register()
    assert issubclass(register(), HarnessModel)


def test_wrong_settings(tiny_checkpoint: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match="knows no task 'tiny_chose'"):
        run(tiny_checkpoint, folder, "tiny_chose")
    with pytest.raises(ConfigError, match="whose fields are text, language, choices"):
        run(tiny_checkpoint, folder, "tiny_choice", encoder_field="premise")
    with pytest.raises(ConfigError, match="choose one"):
        register()(tiny_checkpoint, encoder_field="a", encoder_template="{a}")
    with pytest.raises(ConfigError, match="perplexity are not supported"):
        register()(tiny_checkpoint).loglikelihood_rolling([])
