"""Every method on tiny models: what it trains, what it leaves alone, what it reads and resumes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from factories import VOCABULARY, make_encoder, make_tokenizer, save_backbones
from layalign.errors import CheckpointError, ConfigError, LayAlignError
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
from method_recipes import Values, recipe_values, write_examples

OWN_LM = ("multilingual_sft", "multilingual_lora", "qalign", "mindmerger_hard")
TRANSLATING = ("translate_test", "mindmerger_hard")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models, and a file of examples in two languages."""
    root = tmp_path_factory.mktemp("methods")
    save_backbones(root)
    write_examples(root)
    return root


@pytest.fixture(scope="module")
def done(root: Path) -> Callable[[str], RunSummary]:
    """The run of each method, made once."""
    return cache(lambda method: run(recipe_values(root, root / "runs", method)))


@pytest.fixture
def make(root: Path, tmp_path: Path) -> Callable[..., Values]:
    """A recipe that has everything that any method needs, as plain values."""
    return partial(recipe_values, root, tmp_path)


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
    assert (summary.translation_seconds > 0) == chosen.keeps_original
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
    assert left == {"predictions", "recipe.yaml", "status.json", "summary.json"}
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


@pytest.mark.parametrize(
    ("method", "changes", "message"),
    [
        ("layalign", {"lora": {"targets": ["no_proj"]}}, r"lora\.targets names no_proj"),
        ("layalign", {"language_layers": [7]}, "language_layers is"),
        (
            "translate_test",
            {},
            r"encoder-decoder .*: its family is llama; expected",
        ),
        (
            "mindmerger_hard",
            {},
            r"encoder-decoder .*: its family is llama; expected",
        ),
    ],
)
def test_what_cannot_work_shows_before_training(
    method: str, changes: Values, message: str, make: Callable[..., Values], root: Path
) -> None:
    values = make(method)
    values["model"] |= changes
    if METHODS[method].translates:
        values["evaluation"]["translator"] = str(root / "language_model")
    for dry_run in (True, False):
        with pytest.raises(LayAlignError, match=message):
            run(values, dry_run=dry_run)
        assert not Path(values["output_dir"]).exists()


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
    told = []
    run(values, progress=lambda *state: told.append(state))
    assert ("translate task-train", 1.0, "4 of 4 examples") in told
    finetune, task, dev = read
    assert set(finetune) == {"three eggs"}
    for text in (*task, *dev):
        question, _, translation = text.partition("\n")
        assert question in ("three eggs", "tatu mayai mbili")
        assert not (translation and question == "three eggs")


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
