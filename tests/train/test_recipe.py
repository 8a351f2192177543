from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from factories import REAL_DATA_RECIPES
from layalign.data import LeakGuard
from layalign.errors import ConfigError
from layalign.train.recipe import Recipe, differing_keys, load_recipe, save_recipe
from layalign.train.stages import Stage, StageConfig

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))

TEXT = """
output_dir: out
seed: 3
model: {encoder: e, language_model: l}
data:
  translation: {train: [{path: a.tsv, language: sw}]}
  task: {train: [{name: word_problems, split: train, target: reasoning}]}
stage:
  translation: {lr: 3e-4}
  task: {seed: 5}
"""


def written(tmp_path, text=TEXT):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes(path):
    recipe = load_recipe(path)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_there_are_shipped_recipes():
    assert {path.stem for path in RECIPES} >= {"quickstart", "tiny", *REAL_DATA_RECIPES}


def test_stages_start_from_the_paper(tmp_path):
    recipe = load_recipe(written(tmp_path))
    assert recipe.stage.translation == StageConfig.paper(Stage.TRANSLATION, lr=3e-4, seed=3)
    assert recipe.stage.task == StageConfig.paper(Stage.TASK, seed=5)
    assert recipe.stage.finetune is None
    assert recipe.data.translation.train[0].format == "bitext"


def test_round_trip(tmp_path):
    recipe = load_recipe(written(tmp_path))
    save_recipe(tmp_path / "again.yaml", recipe)
    assert load_recipe(tmp_path / "again.yaml") == recipe


def test_overrides(tmp_path):
    recipe = load_recipe(
        written(tmp_path),
        ["stage.task.lr=1e-3", "stage.translation=null", "data.task.train.0.limit=7"],
    )
    assert recipe.stage.task.lr == 1e-3
    assert recipe.stage.translation is None
    assert recipe.data.task.train[0].limit == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stage.task.lrr=1", "unknown key 'stage.task.lrr'; did you mean 'lr'"),
        ("stage.tusk={}", "unknown key 'stage.tusk'; did you mean 'task'"),
        ("modle=1", "unknown key 'modle'; did you mean 'model'"),
        ("model.init=lexicon", "model.init is 'lexicon'; expected one of default, lexical"),
        ("model.encoder=null", "model.encoder is None; expected text"),
        ("model={encoder: e}", "model.language_model is missing"),
        ("data.task.train.0.splt=1", r"unknown key 'data.task.train\[0\].splt'; .*'split'"),
        ("data.task.train.0.languages=[no]", r"languages\[0\] is False; expected text"),
        ("data.task.train.0.split=null", r"data.task.train\[0\]: .*needs a split"),
        ("data.task=null", "stage.task has no data; add data.task.train"),
        ("stage.task=fast", "stage.task is 'fast'; expected a mapping"),
        ("stage.task.embedding_noise=5", "the language model is frozen there; move it to"),
        ("stage.translation.lora_rank=4", "the language model is frozen there; move it to"),
        ("stage.finetune={text_dropout: 0.5}", "nothing but text; move it to stage.task"),
        ("stage.task.text_dropout=1.5", "text_dropout is 1.5; expected from 0 to 1"),
        ("stage={}", "stage: no stage is given; add at least one of finetune, translation, task"),
        ("model={language_model: l}", "model.encoder is missing; add it"),
        ("processor.chat=1", "processor.chat is 1; expected true or false"),
        ("processor.system=Hi", "processor: system is set without chat"),
        ("evaluation.metric=bleu", "evaluation.metric is 'bleu'; expected one of number"),
        ("evaluation.batch_size=0", "evaluation: batch_size is 0"),
        ("evaluation.translator_template=to", "translator_template is 'to'; expected one with {q"),
        ("evaluation.bare_prompt_template=A", "bare_prompt_template is 'A'; expected one with {q"),
        ("dtype=float16", "dtype is 'float16'; expected one of auto"),
        ("data.task.learn=text", "data.task.learn is 'text'; expected one of target, answer"),
        ("seed=x", "seed is 'x'; expected a whole number"),
    ],
)
def test_errors_name_file_and_key(override, message, tmp_path):
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(written(tmp_path), [override])
    assert str(caught.value).startswith(str(tmp_path / "recipe.yaml"))
    assert "\n" not in str(caught.value)


def test_differing_keys(tmp_path):
    recipe = load_recipe(written(tmp_path))
    other = replace(
        load_recipe(written(tmp_path), ["stage.task.lr=1", "data.task.train.0.limit=2"]),
        output_dir="elsewhere",
    )
    assert differing_keys(recipe, recipe) == []
    assert differing_keys(recipe, other) == ["data.task.train.0.limit", "stage.task.lr"]


def test_plain_values_only(tmp_path):
    values = load_recipe(written(tmp_path)).to_dict()
    assert yaml.safe_load(yaml.safe_dump(values)) == values


def test_language_codes_are_a_mapping_or_a_name(tmp_path):
    for value, codes in (("nllb", "nllb"), ("{sw: swh_Latn}", {"sw": "swh_Latn"})):
        recipe = load_recipe(written(tmp_path), [f"processor.language_codes={value}"])
        assert recipe.processor.language_codes == codes
        assert Recipe.from_dict(recipe.to_dict()) == recipe
    with pytest.raises(ConfigError, match="unknown table of language codes 'nlb'"):
        load_recipe(written(tmp_path), ["processor.language_codes=nlb"])


def test_sources_of_every_kind(tmp_path):
    sources = [
        "{path: folder, format: xnli, split: dev, languages: [sw], codes: {swh: sw}}",
        "{hub: some/set, subset: sw, split: test, revision: main, format: mgsm, language: sw}",
        "{path: a.csv, columns: {text: question}, language: sw, template: 'Q: {text}'}",
        "{path: swa.txt, target_path: eng.txt, format: bitext_files, language: sw}",
    ]
    recipe = load_recipe(written(tmp_path), [f"data.evaluation=[{', '.join(sources)}]"])
    assert [source.label for source in recipe.data.evaluation] == [
        *("folder", "some/set", "a.csv", "swa.txt"),
    ]
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    "name", ["tiny", "quickstart", pytest.param("smollm2_e5_math", marks=pytest.mark.slow)]
)
def test_shipped_recipes_have_no_leak(name, monkeypatch):
    if name == "smollm2_e5_math":
        if not (SHARED / "data").is_dir():
            pytest.skip(f"no reference data in {SHARED}")
        monkeypatch.chdir(SHARED)
    data = load_recipe(ROOT / "recipes" / f"{name}.yaml").data
    guard = LeakGuard()
    tested = [example for source in data.evaluation for example in guard.test(source)]
    for _, part, source in data.sources():
        if part == "train":
            assert sum(1 for _ in guard.training(source))
    assert tested
    guard.settle("refuse")


def test_cleaning_and_mixing(tmp_path):
    recipe = load_recipe(
        written(tmp_path),
        [
            "data.task.mix={temperature: 2, total: 100}",
            "data.translation.train.0.clean={max_length: 200, duplicates: exact}",
            "data.on_leak=warn",
        ],
    )
    assert recipe.data.task.mix.temperature == 2
    assert recipe.data.translation.train[0].clean.max_length == 200
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert [entry[:2] for entry in recipe.data.sources()] == [
        ("translation", "train"),
        ("task", "train"),
    ]
    with pytest.raises(ConfigError, match=r"data\.task\.mix: temperature is 0"):
        load_recipe(written(tmp_path), ["data.task.mix.temperature=0"])


def test_a_fine_tune_needs_no_encoder(tmp_path):
    stages = "{finetune: {lr: 1e-4}, translation: null, task: null}"
    data = "{train: [{path: a.jsonl}]}"
    overrides = ["model={language_model: l}", f"stage={stages}", f"data.finetune={data}"]
    recipe = load_recipe(written(tmp_path), overrides)
    assert recipe.stage.composite == []
    assert Recipe.from_dict(recipe.to_dict()) == recipe
