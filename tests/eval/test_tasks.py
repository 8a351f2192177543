from pathlib import Path

import pytest

from layalign.data import Example
from layalign.errors import ConfigError, DataError
from layalign.eval.metrics import score
from layalign.eval.tasks import Task, load_task, shipped_tasks

# What the readers of each benchmark give.
EXAMPLES = {
    "mgsm": Example(text="Bata 3 na 4?", language="sw", answer="7"),
    "msvamp": Example(text="Bata 3 na 4?", language="sw", answer="7"),
    "afrimgsm": Example(text="Bata 3 na 4?", language="sw", answer="7"),
    "word_problems": Example(text="Bata 3 na 4?", language="sw", answer="7"),
    "x_csqa": Example(
        text="Where is a bank?",
        language="en",
        parts={"stem": "Where is a bank?"},
        choices=("sea", "river", "sky", "hill", "tree"),
        answer="B",
    ),
    "xnli": Example(
        text="It rains.\nIt is wet.",
        language="en",
        parts={"premise": "It rains.", "hypothesis": "It is wet."},
        choices=("entailment", "neutral", "contradiction"),
        answer="neutral",
    ),
    "xcopa": Example(
        text="It rained.",
        language="en",
        parts={"premise": "It rained.", "question": "effect"},
        choices=("Dry.", "Wet."),
        answer="B",
    ),
    "translation": Example(text="habari", language="sw", target="hello"),
}


@pytest.fixture(params=shipped_tasks())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def prepared(task: Task) -> Example:
    return task._reworded(EXAMPLES[task.name])


def test_every_shipped_task_has_an_example_here() -> None:
    assert set(shipped_tasks()) == set(EXAMPLES)


def test_every_template_fits_the_data(name: str) -> None:
    for template in load_task(name).templates:
        task = load_task(name, [f"template={template}"])
        example = prepared(task)
        for prompt in (task.texts.prompt(example, "own"), task.texts.bare_prompt(example, "own")):
            assert "{" not in prompt.text + prompt.question
        score("", example, task.metric)


def test_files_are_named_like_their_tasks(name: str) -> None:
    task = load_task(name)
    assert task.name == name
    assert task.description
    assert "checkpoint" in task.templates  # for checkpoints that were trained with other words


def test_mathematics_asks_as_the_paper_does() -> None:
    task = load_task("mgsm")
    prompt = task.texts.prompt(EXAMPLES["mgsm"], "")
    assert prompt.text == "Bata 3 na 4?"  # the bare question for the encoder
    text = prompt.template.replace("{question}", prompt.question)
    assert "### Instruction:\nBata 3 na 4?\n\n### Response: Let's think step by step." in text
    assert task.groups["low_resource"] == ("bn", "th", "sw")
    grouped = [tag for group in task.groups.values() for tag in group]
    assert sorted(task.languages or ()) == sorted(grouped)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "x_csqa",
            "Question: Where is a bank?\nOptions:\nA. sea\nB. river\nC. sky\nD. hill\nE. tree\n"
            "Answer:",
        ),
        ("xnli", "Premise: It rains.\nHypothesis: It is wet.\nLabel:"),
        (
            "xcopa",
            "Premise: It rained.\nWhat is the effect?\nOptions:\nA. Dry.\nB. Wet.\nAnswer:",
        ),
    ],
)
def test_classification_gives_both_models_the_same_text(name: str, expected: str) -> None:
    task = load_task(name)
    prompt = task.texts.prompt(prepared(task), "")
    assert prompt.text == expected
    assert prompt.template.replace("{question}", prompt.question) == expected


def make(**settings: object) -> Task:
    from layalign.fields import from_mapping

    base = {"name": "own", "data": {}, "metric": "choice", "templates": {"a": {}}}
    return from_mapping(Task, {**base, **settings}, "")


def test_other_words_for_choices_and_parts() -> None:
    task = make(wording={"neutral": "maybe", "It rains.": "It pours."}, parts={"first": "premise"})
    example = task._reworded(EXAMPLES["xnli"])
    assert example.choices == ("entailment", "maybe", "contradiction")
    assert example.answer == "maybe"
    assert example.parts["first"] == "It pours."
    assert score("Maybe.", example, "choice").correct
    with pytest.raises(DataError, match="needs the part 'premise' of every example"):
        task._reworded(EXAMPLES["mgsm"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "a/b"}, "name is 'a/b'"),
        ({"templates": {}}, "no templates"),
        ({"template": "b"}, "no template 'b'; expected one of a"),
        ({"data": {"formt": "mgsm"}}, "unknown key 'data.formt'; did you mean 'format'"),
        ({"metric": "number", "scoring": "loglikelihood"}, "needs choices"),
        ({"continuation": " B"}, "expected a text with {label} or {choice}"),
        ({"continuation": "{letter}"}, "expected a text with {label} or {choice}"),
        ({"max_new_tokens": 0}, "expected at least 1"),
        ({"scoring": "guess"}, "expected one of generate, loglikelihood"),
        ({"templates": {"a": {"llm": "{x"}}}, "templates.a: template '{x' is not well formed"),
    ],
)
def test_wrong_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_sources() -> None:
    task = make(data={"format": "jsonl"})
    source = task.source("folder", languages=["swh"], limit=3)
    assert source.path == str(Path("folder") / "own")
    assert (source.languages, source.limit) == (("sw",), 3)
    assert make(data={"path": "a.jsonl"}, languages=["sw"]).source(None).languages == ("sw",)
    with pytest.raises(ConfigError, match=r"needs data.*--data FOLDER"):
        task.source(None)
    with pytest.raises(DataError, match="unknown language"):
        task.source("folder", languages=["swahilli"])


def test_a_task_file(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("name: own\ndata: {path: a.jsonl}\nmetric: exact\ntemplates: {a: {}}\n")
    task = load_task(str(file), ["max_new_tokens=7", "templates.a.version=3"])
    assert (task.max_new_tokens, task.texts.version) == (7, 3)
    file.write_text("name: own\nmetrik: exact\n")
    with pytest.raises(
        ConfigError, match=r"own\.yaml: unknown key 'metrik'; did you mean 'metric'"
    ):
        load_task(str(file))
