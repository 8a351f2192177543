"""Recipes: a whole run as one YAML file, checked before anything is loaded."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import yaml

from layalign.data import DataSource, Mixing, language_codes
from layalign.durable import replace_file
from layalign.errors import ConfigError, nearest
from layalign.eval.metrics import Metric
from layalign.eval.prompts import check_question
from layalign.fields import check_keys, differing, dotted, from_mapping
from layalign.model import switches
from layalign.model.switches import AdapterKind, AlignerKind, GateKind, LoraSettings
from layalign.processing import LENGTHS
from layalign.train.comparing import ComparisonRecipe
from layalign.train.methods import METHODS, check_method
from layalign.train.stages import Stage, StageConfig
from layalign.yaml_files import apply_override, read_yaml

STAGES = ("finetune", "translation", "task")
_FINETUNE_ONLY = ("embedding_noise", "lora_rank")


@dataclass(frozen=True, kw_only=True)
class LexicalRecipe:
    """The adapter's warm start; see :func:`layalign.model.lexical.lexical_start`."""

    texts: int = 4000
    """Different English targets taken from the training data, at most."""

    updates: int = 1500
    """Adam updates."""

    batch_size: int = 512
    """Encoder tokens per update."""

    lr: float = 1e-3
    """Peak learning rate."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, value in vars(self).items():
            if value <= 0:
                raise ConfigError(f"{name} is {value}; expected more than 0")


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """The backbones and what is put between them; see :class:`layalign.model.LayAlignConfig`."""

    encoder: str = ""
    """Folder, hub id or name of an embedded model; a recipe that only fine-tunes needs none."""

    language_model: str
    """Folder, hub id or name of an embedded model."""

    encoder_revision: str | None = None
    language_model_revision: str | None = None

    attn_implementation: str | None = None
    """Of the language model: ``sdpa``, ``eager``, ``flash_attention_2`` …; None for its default."""

    init: Literal["default", "lexical"] = "default"
    """``lexical`` fits the adapter to the language model's word embeddings before training."""

    lexical: LexicalRecipe = field(default_factory=LexicalRecipe)

    encoder_layers: tuple[int, ...] | str | None = None
    """What the aligner reads: ``last``, ``mean``, ``first:K``, ``middle:K``, ``last:K`` or a list
    of hidden states; None for all but the last, which the adapter reads."""

    language_layers: tuple[int, ...] | None = None
    aligner: AlignerKind = "linear"
    aligner_width: int | None = None
    adapter: AdapterKind = "mlp"
    adapter_width: int | None = None
    gate: GateKind = "scalar"
    lora: LoraSettings | None = None
    """A LoRA on the language model, trained in every stage of LayAlign; None for none."""

    mask_encoder_padding: bool = True
    mask_position_ids: bool = True
    frozen_backbones_eval: bool = True

    def __post_init__(self) -> None:
        """Check what needs no backbones."""
        switches.check_kinds(adapter=self.adapter, aligner=self.aligner, gate=self.gate)
        switches.check_layer_words(self.encoder_layers)
        switches.check_adapter_width(self.adapter, self.adapter_width)
        if self.aligner == "none":
            switches.check_without_aligner(vars(self))
        if self.init == "lexical" and self.adapter == "none":
            raise ConfigError("init is lexical, which fits the adapter, but adapter is none")

    def config_fields(self) -> dict[str, Any]:
        """What :class:`LayAlignConfig` takes of this; None is left to its defaults."""
        values = {name: getattr(self, name) for name in _CONFIG_FIELDS}
        return {name: value for name, value in values.items() if value is not None}


_CONFIG_FIELDS = (
    *("encoder_layers", "language_layers", "aligner", "aligner_width"),
    *("adapter", "adapter_width", "gate", "lora"),
    *("mask_encoder_padding", "mask_position_ids", "frozen_backbones_eval"),
)


@dataclass(frozen=True, kw_only=True)
class ProcessorRecipe:
    """See :class:`layalign.processing.LayAlignProcessor`; stages may differ from it."""

    prompt_template: str | None = None
    """None for the processor's default."""

    chat: bool = False
    """Use the language model's own chat format as the template."""

    system: str | None = None
    """System message of the chat."""

    encoder_max_length: int = 512
    prompt_max_length: int = 512
    target_max_length: int = 512
    split_digits: bool = False
    question_max_ratio: float | None = None
    language_codes: Mapping[str, str] | str = field(default_factory=dict)
    """The encoder tokenizer's code of each BCP-47 tag, or ``nllb``, ``mbart50`` or ``m2m100``."""

    def __post_init__(self) -> None:
        """See that the fields agree."""
        language_codes(self.language_codes)
        for name in LENGTHS:
            switches.check_width(name, getattr(self, name))
        switches.check_ratio("question_max_ratio", self.question_max_ratio)
        if self.chat and self.prompt_template is not None:
            raise ConfigError("chat and prompt_template are both set; choose one")
        if self.system is not None and not self.chat:
            raise ConfigError("system is set without chat; add chat: true")


@dataclass(frozen=True, kw_only=True)
class StageData:
    """Examples of one stage."""

    train: tuple[DataSource, ...]
    dev: tuple[DataSource, ...] = ()

    learn: Literal["target", "answer"] = "target"
    """What is to be said: an example's English target, or its answer alone (classification)."""

    mix: Mixing | None = None
    """How much of each language ``train`` is to hold; None for all of it."""

    def __post_init__(self) -> None:
        """See that there is something to train on."""
        if not self.train:
            raise ConfigError("train is empty; expected at least one data source")


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Examples of everything."""

    finetune: StageData | None = None
    translation: StageData | None = None
    task: StageData | None = None
    evaluation: tuple[DataSource, ...] = ()

    on_leak: Literal["refuse", "warn"] = "refuse"
    """What is done when questions of ``evaluation`` are in the training data; see
    :class:`layalign.data.LeakGuard`."""

    def sources(self) -> Iterator[tuple[str, str, DataSource]]:
        """Yield every source with the stage and the part that it is for."""
        for stage in STAGES:
            for part in ("train", "dev"):
                for source in getattr(getattr(self, stage), part, ()):
                    yield stage, part, source
        for source in self.evaluation:
            yield "evaluation", "test", source


@dataclass(frozen=True, kw_only=True)
class StagesRecipe:
    """What is trained, in this order; None is left out.

    Which of it a recipe's method trains, and in which model, is in
    :data:`layalign.train.methods.METHODS`.
    """

    finetune: StageConfig | None = None
    """The language model itself, usually on English examples, before it is frozen. By itself it
    makes a plain language model, to compare LayAlign with."""

    translation: StageConfig | None = None
    task: StageConfig | None = None

    @property
    def composite(self) -> list[str]:
        """Names of the stages that train LayAlign itself."""
        return [name for name in STAGES[1:] if getattr(self, name) is not None]

    def __post_init__(self) -> None:
        """See that the settings suit the stages."""
        for name, key in itertools.product(STAGES[1:], _FINETUNE_ONLY):
            if getattr(getattr(self, name), key, None) is not None:
                raise ConfigError(
                    f"stage.{name}.{key} is set, but the language model is frozen there; "
                    "move it to stage.finetune"
                )
        if self.finetune is not None and self.finetune.text_dropout:
            raise ConfigError(
                "stage.finetune.text_dropout is set, but there the language model has nothing but "
                "text; move it to stage.task"
            )


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """How the result is measured on ``data.evaluation``."""

    metric: Metric = "number"
    """What is compared: ``number``, ``choice`` or ``exact``."""

    batch_size: int = 32
    """Examples answered at a time."""

    max_new_tokens: int = 256
    """Longest answer."""

    translator: str | None = None
    """What translates questions for the methods that need it: folder or hub id of any
    sequence-to-sequence model. None for LayAlign itself, trained in the recipe's stage
    ``translation``."""

    translator_template: str = "{question}"
    """What that model reads, for one that wants words around the question, such as
    ``"<2en> {question}"``."""

    translation_max_new_tokens: int = 256
    """Longest translation of a question."""

    bare: bool = True
    """Measure the bare language model on the same items too; what is only fine-tuned always is."""

    bare_prompt_template: str | None = None
    """Its prompt, with ``{question}``; None for LayAlign's, with the question before it, or,
    without LayAlign, that of the fine-tune."""

    def __post_init__(self) -> None:
        """Check the sizes."""
        for name in ("batch_size", "max_new_tokens", "translation_max_new_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected at least 1")
        check_question(self.translator_template, "translator_template")
        if self.bare_prompt_template is not None:
            check_question(self.bare_prompt_template, "bare_prompt_template")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run: backbones, data, stages, evaluation."""

    output_dir: str
    """Everything is written here; the result is a checkpoint that ``from_pretrained`` loads, or, in
    the subfolder ``language_model``, the language model that was only fine-tuned."""

    seed: int = 0
    """Seed of new parameters, and of the stages that have none of their own."""

    dtype: Literal["auto", "fastest", "float32", "bfloat16"] = "auto"
    """Type that the backbones are loaded in: ``auto`` as stored, ``fastest`` by a short
    measurement, which also chooses the attention unless ``model.attn_implementation`` does."""

    method: str = "layalign"
    """Which way of teaching the language model is taken, by its name in
    :data:`layalign.train.methods.METHODS`; the rest of the recipe serves them all."""

    methods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each method the settings that are others when it runs, each ``dotted.key=value``."""

    model: ModelRecipe
    processor: ProcessorRecipe = field(default_factory=ProcessorRecipe)
    data: DataRecipe
    stage: StagesRecipe = field(default_factory=StagesRecipe)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)

    comparison: ComparisonRecipe | None = None
    """How ``layalign compare`` makes methods comparable."""

    def __post_init__(self) -> None:
        """See that methods are known, that every stage has data and LayAlign an encoder."""
        if not self.output_dir.strip("\0 "):
            raise ConfigError("output_dir is empty; name the folder of the run")
        check_method(self.method, "method")
        for name in self.methods:
            check_method(name, "methods")
        if self.method == "layalign" and all(getattr(self.stage, name) is None for name in STAGES):
            raise ConfigError(f"stage: no stage is given; add at least one of {', '.join(STAGES)}")
        for name in STAGES:
            if getattr(self.stage, name) is not None and getattr(self.data, name) is None:
                raise ConfigError(f"stage.{name} has no data; add data.{name}.train")
        method = METHODS[self.method]
        is_joined = not (method.translates and self.evaluation.translator)
        if is_joined and {*method.composite} & {*self.stage.composite} and not self.model.encoder:
            raise ConfigError("model.encoder is missing; add it")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Check plain values.

        Raises:
            ConfigError: A key is unknown or missing, or a value is not valid; the message has its
                dotted name.
        """
        values = dict(values)
        if isinstance(values.get("stage"), Mapping):
            values["stage"] = _stages(values["stage"], values.get("seed", 0))
        return from_mapping(cls, values, "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, every default filled in, that :meth:`from_dict` reads back."""
        plain: dict[str, Any] = _plain(dataclasses.asdict(self))
        return plain


def load_recipe(path: str | PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: YAML file, or the name of a recipe that comes with the library. Paths in it are
            relative to the working directory.
        overrides: ``dotted.key=value``, the value as in YAML: ``stage.task.lr=3e-4``,
            ``stage.translation=null``, ``data.task.train.0.limit=100``.

    Raises:
        ConfigError: The file cannot be read or is not valid; the message names file and key.
    """
    try:
        values = read_yaml(_place(path))
        for override in overrides:
            apply_override(values, override)
        return Recipe.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _place(name: str | PathLike[str]) -> Path:
    """Path of a recipe: a file, or one that comes with the library by its name."""
    shipped = {path.stem: path for path in Path(__file__).parents[1].glob("recipes/*.yaml")}
    found = shipped.get(fspath(name), Path(name))
    if not found.is_file():
        known = ", ".join(sorted(shipped)) + nearest(fspath(name), shipped)
        raise ConfigError(f"cannot be read; expected a YAML file or one of {known}")
    return found


def save_recipe(path: str | PathLike[str], recipe: Recipe) -> None:
    """Write a recipe that :func:`load_recipe` reads back."""
    text = yaml.safe_dump(recipe.to_dict(), sort_keys=False, allow_unicode=True)
    replace_file(Path(path), text.encode())


def _stages(values: Mapping[str, Any], seed: Any) -> dict[str, Any]:
    """Read every stage over the paper's settings for it."""
    check_keys(values, STAGES, "stage")
    stages: dict[str, Any] = {}
    for name, settings in values.items():
        stage = Stage.TRANSLATION if name == "translation" else Stage.TASK
        if isinstance(settings, Mapping):
            settings = {"seed": seed, **settings}
        if settings is not None:
            where = dotted("stage", name)
            stages[name] = StageConfig.from_dict(settings, stage=stage, where=where)
    return stages


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return copy.copy(value)


def differing_keys(one: Recipe, other: Recipe) -> list[str]:
    """Dotted keys in which two recipes differ; where a run goes and how it is compared is none."""
    keys = differing(one.to_dict(), other.to_dict())
    return [key for key in keys if key.split(".")[0] not in ("output_dir", "comparison")]
