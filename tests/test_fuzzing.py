"""Whatever is in a file: it is read, or there is an error of ours. Nothing else comes out."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damage import inside, written
from layalign.analysis.weights import read_weights
from layalign.cli.main import main
from layalign.data import DataSource, load_examples
from layalign.data.formats import CORPORA, FORMATS
from layalign.errors import LayAlignError
from layalign.eval.answers import numbers_equal, parse_choice, parse_number
from layalign.eval.journal import read_predictions
from layalign.eval.tasks import Task, load_task
from layalign.fields import from_mapping
from layalign.model.checkpoint import describe
from layalign.model.states import open_state
from layalign.train import Recipe, load_recipe
from report_folders import evaluation, write_comparison, write_results, write_run

DEEP = (pytest.mark.slow, pytest.mark.deep)
HEALTH = (HealthCheck.too_slow, HealthCheck.large_base_example)

texts = st.text(st.characters(codec=None), max_size=40)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
RECIPE: dict[str, Any] = {
    "output_dir": "out",
    "seed": 1,
    "model": {"encoder": "a", "language_model": "b", "lora": {"rank": 2}},
    "processor": {"encoder_max_length": 8, "language_codes": {"sw": "swh"}},
    "data": {
        "task": {
            "train": [{"path": "a.jsonl", "language": "sw", "clean": {"max_length": 9}}],
            "mix": {"temperature": 2.0},
        },
        "evaluation": [{"name": "word_problems", "split": "test"}],
    },
    "stage": {"task": {"lr": 1e-3, "betas": [0.9, 0.99], "epochs": 1}},
    "evaluation": {"metric": "number"},
    "methods": {"mindmerger": ["seed=2"]},
    "comparison": {"budget": 3},
}
TASK = {
    "name": "a",
    "data": {"format": "mgsm", "split": "test"},
    "metric": "number",
    "templates": {"own": {"version": 1, "prompt": "{question}"}},
    "groups": {"low": ["sw"]},
}


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something else can be put."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


@st.composite
def changed(draw: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    """Values of which one or two are something else, or under another name."""
    copy: dict[str, Any] = json.loads(json.dumps(values))
    for _ in range(draw(st.integers(1, 2))):
        *parents, last = draw(st.sampled_from([*places(copy)]))
        inner: Any = copy
        for key in parents:
            inner = inner[key]
        if isinstance(inner, dict) and draw(st.booleans()) and draw(st.booleans()):
            inner[draw(texts)] = inner.pop(last)
        else:
            inner[last] = draw(plain)
    return copy


@st.composite
def damaged(draw: Callable[..., Any], content: bytes) -> bytes:
    """Bytes of which some are others, gone or added."""
    made = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(made)))
        end = draw(st.integers(at, min(len(made), at + 8)))
        made[at:end] = draw(st.binary(max_size=8))
    return bytes(made[: draw(st.integers(0, len(made)))] if draw(st.booleans()) else made)


# Each check takes what was drawn and a folder, which holds a good checkpoint too.


def recipes(values: dict[str, Any], _: Path) -> None:
    with suppress(LayAlignError):
        assert Recipe.from_dict(Recipe.from_dict(values).to_dict()).to_dict()


def tasks(values: dict[str, Any], _: Path) -> None:
    with suppress(LayAlignError):
        from_mapping(Task, values, "")


def files_of_recipes(drawn: tuple[bytes, str, str], folder: Path) -> None:
    content, key, value = drawn
    (folder / "r.yaml").write_bytes(content)
    for overrides in ([], [f"{key}={value}"], [f"seed={value}"]):
        with suppress(LayAlignError):
            load_recipe(folder / "r.yaml", overrides)
    with suppress(LayAlignError):
        load_task(str(folder / "r.yaml"), [f"{key}={value}"])


ROW = {"question": "Ngapi?", "answer": 3, "language": "sw", "text": "a", "choices": ["b"], "id": 1}
CONTENTS = {
    "x.jsonl": json.dumps(ROW).encode() * 2,
    "x.json": json.dumps([ROW, ROW]).encode(),
    "x.csv": b'text,answer\n"a, ""b""",1\nc,2\n',
    "x.tsv": b"a\tb\nc\td\n",
}


def data_files(data: st.DataObject, folder: Path) -> None:
    name = data.draw(st.sampled_from(sorted(CONTENTS)))
    (folder / name).write_bytes(data.draw(damaged(CONTENTS[name])))
    with suppress(LayAlignError):
        load_examples(DataSource(path=str(folder / name), language="sw"))


def rows_of_corpora(drawn: tuple[str, list[dict[str, Any]]], folder: Path) -> None:
    name, rows = drawn
    file = folder / f"x{min({'.jsonl', '.json'} & {*FORMATS[name].endings})}"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with suppress(LayAlignError):
        load_examples(DataSource(path=str(file), format=name, language="sw"))


def predictions(content: bytes, folder: Path) -> None:
    (folder / "x.jsonl").write_bytes(content)
    with suppress(LayAlignError):
        read_predictions(folder / "x.jsonl")


# Pieces that answers are made of, so that every branch of the parsers is met.
WORDS = ["The answer is ", "#### ", "option ", "not ", "A", "(B)", "C.", "è", "\n", " ", "%", "$"]
WORDS += ["-", "1", "23", "0", ",", ".", "/", "٣", "\\frac{1}{2}", "\\frac{"]
answered = st.lists(st.sampled_from(WORDS) | texts, max_size=8).map("".join)


def answers(drawn: tuple[str, list[str]], _: Path) -> None:
    text, labels = drawn
    number = parse_number(text)
    assert number is None or (isinstance(number, Decimal) and number.is_finite())
    assert numbers_equal(number, number) == (number is not None)
    assert parse_choice(text, ["A", "B", "C"]) in (None, "A", "B", "C")
    assert parse_choice(text, labels, labels[::-1]) in (None, *labels)


@st.composite
def other_header(draw: Callable[..., Any], content: bytes) -> bytes:
    """A safetensors file with another header: other values, other bytes, or another length."""
    size = struct.unpack("<Q", content[:8])[0]
    header, rest = content[8 : 8 + size], content[8 + size :]
    if draw(st.booleans()):
        header = json.dumps(draw(changed(json.loads(header)))).encode()
    else:
        header = draw(damaged(header))
    stated = draw(st.just(len(header)) | st.integers(0, 2**64 - 1))
    return struct.pack("<Q", stated) + header + rest


def checkpoints(data: st.DataObject, folder: Path) -> None:
    made = folder / "made"
    shutil.copytree(folder / "checkpoint", made, dirs_exist_ok=True)
    if data.draw(st.booleans()):
        config = json.loads((made / "config.json").read_text("utf-8"))
        text = json.dumps(data.draw(changed(config)))
        (made / "config.json").write_text(text, encoding="utf-8")
    else:
        content = (made / "model.safetensors").read_bytes()
        (made / "model.safetensors").write_bytes(data.draw(other_header(content)))
    for summarise in (describe, read_weights):
        with suppress(LayAlignError):
            summarise(made)
    with suppress(LayAlignError):
        for read in open_state(made).values():
            read()


STATUS: dict[str, Any] = {
    **{"pid": 1, "host": "a", "state": "running", "phase": "task", "fraction": 0.3, "update": 1},
    **{"updates": 9, "loss": 2.0, "seconds": 3.0, "seconds_left": 4.0, "error": None},
}


def folders(data: st.DataObject, folder: Path) -> None:
    """What ``layalign status`` and ``layalign report`` read, beside a run that is whole."""
    if not (folder / "run").exists():
        run = write_run(folder / "run", system="layalign", evaluation=evaluation(10, 40))
        inside(
            "summary.json", "stages", task={"losses": [2, 1], "dev": [{"update": 1, "loss": 2}]}
        )(run)
        (run / "status.json").write_text(json.dumps(STATUS), encoding="utf-8")
        (run / "task" / "checkpoint-1").mkdir(parents=True)
        written("task/checkpoint-1/checksums.json", '{"a": [0, "b"]}')(run)
        shutil.copytree(run, folder / "other")
        write_results(folder / "results", ours=42)
        write_comparison(folder / "comparison")
    name = data.draw(st.sampled_from(FILES))
    file, content = folder / name, (folder / name).read_bytes()
    is_other = data.draw(st.booleans())
    text = json.dumps(data.draw(changed(json.loads(content)))) if is_other else ""
    file.write_bytes(text.encode() if is_other else data.draw(damaged(content)))
    try:
        own, other, page = (str(folder / name) for name in (name.split("/")[0], "other", "r.html"))
        for command in (["status", own], ["report", own, other, "--output", page]):
            with suppress(LayAlignError):
                main(["--debug", *command])
    finally:
        file.write_bytes(content)


FILES = [
    *("run/status.json", "run/summary.json", "run/task/checkpoint-1/checksums.json"),
    *("results/results.json", "results/settings.json", "comparison/comparison.json"),
]
PREDICTION = {"index": 0, "text": "a", "output": "1", "correct": True, "language": "sw"}
CHECKS: dict[Callable[[Any, Path], None], st.SearchStrategy[Any]] = {
    recipes: changed(RECIPE),
    tasks: changed(TASK),
    files_of_recipes: st.tuples(damaged(yaml.safe_dump(RECIPE).encode()), texts, texts),
    data_files: st.data(),
    rows_of_corpora: st.tuples(
        st.sampled_from(sorted(CORPORA)), st.lists(changed(ROW), min_size=1, max_size=3)
    ),
    predictions: damaged(json.dumps(PREDICTION).encode() + b"\n"),
    answers: st.tuples(answered, st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True)),
    checkpoints: st.data(),
    folders: st.data(),
}


@pytest.mark.filterwarnings("ignore")  # transformers remarks on values in configurations
@pytest.mark.parametrize("examples", [60, pytest.param(500, marks=DEEP)])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_nothing_else_comes_out(
    check: Callable[[Any, Path], None], examples: int, tmp_path: Path, tiny_checkpoint: Path
) -> None:
    (tmp_path / "checkpoint").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_checkpoint / name, tmp_path / "checkpoint")

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=HEALTH)
    @given(CHECKS[check])
    def run(drawn: Any) -> None:
        check(drawn, tmp_path)

    run()
