"""What a recipe would do, without any weights: data, parameters, updates, tokens and memory."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import PreTrainedModel

from layalign.data import DataSource, Example, LeakGuard, hold, iter_examples
from layalign.embedded import models_table
from layalign.errors import ConfigError
from layalign.eval.loading import check_translator
from layalign.model import LayAlignModel
from layalign.model.backbones import outline_backbones
from layalign.model.parts import count_by_part
from layalign.model.sizes import sized_config
from layalign.processing import LayAlignProcessor
from layalign.train.batches import to_learn
from layalign.train.footprint import finetuned_size
from layalign.train.methods import MethodPlan
from layalign.train.planned_stage import PlannedStage
from layalign.train.randomness import preserved_random_state
from layalign.train.recipe import Recipe
from layalign.train.stages import StageConfig
from layalign.train.trainer import make_processor

Values = dict[str, Any]


def make_plan(method: MethodPlan, *, dtype: str, folder: Path) -> tuple[dict[str, Values], Values]:
    """Find out what a run would do, with what is on this machine; nothing is downloaded.

    Data that is there is read and checked. Data that is not counts with the ``limit`` that the
    recipe gives it, for each of its languages; without one its size is unknown, and so is what
    follows from it. The backbones are built from their configurations, if these are in a folder or
    in a cache, or of their sizes, where :func:`layalign.model.sizes.sized_config` knows them.

    Args:
        method: The run, from :func:`plan_method`.
        dtype: Type that the backbones would be loaded in.
        folder: An empty one, for configurations and for examples that are too many for memory.

    Returns:
        Per stage ``examples`` and ``updates``, None if unknown; and

        * ``method``: its ``name``, its ``label`` in tables and a ``description``.
        * ``parameters``: of ``adapter``, ``aligner``, ``gates`` and ``lora``, of ``encoder`` and
          ``language_model``, those that there are, and ``trained``, those of them, or of a
          fine-tune's LoRA, that the last stage trains; None without configurations.
        * ``stages``: per stage ``tokens``, those the run would read without padding, with
          ``tokens_from``: ``sample`` if that is the mean of tokenised examples times their number,
          ``lengths`` if every example is taken to be as long as allowed, ``limit`` if the stage's
          ``max_tokens`` ends it first; ``longest`` with ``encoder``, ``prompt`` and ``target``, of
          the data or as allowed; ``memory_per_device`` in bytes, see :func:`stage_memory`, for
          examples as long as that.
        * ``sources``: every data source with what it is for and its ``examples``.
        * ``missing``: what a run needs and this machine does not have.

    Raises:
        LayAlignError: Data or a configuration is there but cannot be used.
    """
    found = outline_run(method, folder=folder)
    stages = {stage.name: stage.counts() for stage in found.stages}
    return stages, {
        "method": {
            "name": method.recipe.method,
            "label": method.method.label,
            "description": method.method.description,
        },
        "parameters": found.parameters,
        "stages": {stage.name: stage.details(dtype) for stage in found.stages},
        "sources": found.sources,
        "missing": found.missing,
    }


class RunOutline(NamedTuple):
    """What a run would be made of; see :func:`make_plan`."""

    stages: list[PlannedStage]
    parameters: Values | None
    sources: list[Values]
    missing: list[str]

    unknown: list[str]
    """Backbones whose sizes are not known, by name."""


def outline_run(method: MethodPlan, *, folder: Path) -> RunOutline:
    """Read what there is of a run's data and configurations.

    Args and errors are those of :func:`make_plan`.
    """
    recipe, configs = method.recipe, method.configs
    reads, examples = _read(recipe, configs, folder)
    missing = [f"data: {read.where}" for read in reads if not read.found]
    local = _backbone_folders(method, missing)
    _check_translator(method, reads, missing)
    folders = [path or _known_folder(name, folder) for name, path in local]
    model = outline_trained(recipe, folders[0], folders[-1]) if all(folders) else None
    processor = _processor(recipe, [path for _, path in local], missing)
    if isinstance(model, LayAlignModel) and processor is not None:
        processor.check_model(model.config)
    stages = [
        PlannedStage(
            name,
            config,
            method,
            examples=examples[name],
            counts=[read.count for read in reads if (read.stage, read.part) == (name, "train")],
            model=model,
            processor=processor,
        )
        for name, config in configs.items()
    ]
    return RunOutline(
        stages=stages,
        parameters=None if model is None else _parameters(model, method),
        sources=[read.to_dict() for read in reads],
        missing=missing,
        unknown=[name for (name, _), path in zip(local, folders, strict=True) if not path],
    )


class _Read:
    """A data source, and what of it is on this machine."""

    def __init__(self, stage: str, part: str, source: DataSource) -> None:
        self.stage, self.part, self.source = stage, part, source
        named = ((field, getattr(source, field, None)) for field in ("name", "path", "hub"))
        field, self.where = next((field, str(value)) for field, value in named if value is not None)
        self.found = field == "name" or (field == "path" and Path(self.where).exists())
        self.count = 0 if self.found else _expected(source)
        self.languages: set[str] = set()

    def examples(self, load: Callable[[DataSource], Iterable[Example]]) -> Iterator[Example]:
        """Yield and count what is there, and note its languages."""
        for example in load(self.source) if self.found else ():
            self.count = (self.count or 0) + 1
            self.languages.add(example.language)
            yield example

    def to_dict(self) -> Values:
        return {
            **{name: getattr(self, name) for name in ("stage", "part", "where", "found")},
            "examples": self.count,
        }


def _read(
    recipe: Recipe, configs: Mapping[str, StageConfig], folder: Path
) -> tuple[list[_Read], dict[str, Sequence[Example]]]:
    """Read every source that is used, and see that no test question is trained on.

    Returns:
        All sources, and the training examples of each stage.
    """
    guard = LeakGuard()
    reads = [
        _Read(stage, part, source)
        for stage, part, source in recipe.data.sources()
        if stage in (*configs, "evaluation")
    ]
    load: dict[str, Callable[[DataSource], Iterable[Example]]]
    load = {"test": guard.test, "train": guard.training, "dev": iter_examples}

    def examples(stage: str, part: str) -> Iterator[Example]:
        chosen = (read for read in reads if (read.stage, read.part) == (stage, part))
        return chain.from_iterable(read.examples(load[part]) for read in chosen)

    deque(examples("evaluation", "test"), maxlen=0)
    train = {}
    for name in configs:
        learn = getattr(recipe.data, name).learn
        train[name] = hold(to_learn(examples(name, "train"), learn), folder / f"{name}.arrow")
        deque(to_learn(examples(name, "dev"), learn), maxlen=0)
    guard.settle(recipe.data.on_leak)
    return reads, train


def _expected(source: DataSource) -> int | None:
    """Examples that a source gives if every language has as many as its limit."""
    n_languages = len(source.languages or ()) or (1 if source.language else 0)
    return source.limit * n_languages if source.limit and n_languages else None


def _backbone_folders(method: MethodPlan, missing: list[str]) -> list[tuple[str, str]]:
    """Name and local folder of each backbone, empty for none; the language model comes last."""
    recipe = method.recipe
    settings = recipe.model
    chosen = [("language model", settings.language_model, settings.language_model_revision)]
    if method.composite:
        chosen.insert(0, ("encoder", settings.encoder, settings.encoder_revision))
    folders = []
    for role, name, revision in chosen:
        folders.append((name, _local_folder(name, revision)))
        if not folders[-1][1]:
            missing.append(f"{role}: {name}")
    return folders


def _known_folder(name: str, folder: Path) -> str:
    """Write down a configuration that needs no file; an empty string if there is none."""
    config = sized_config(name)
    if config is None:
        return ""
    own = tempfile.mkdtemp(dir=folder)
    config.save_pretrained(own)
    return own


def _local_folder(name_or_path: str, revision: str | None) -> str:
    embedded = {row.name: row for row in models_table()}
    if name_or_path in embedded:
        row = embedded[name_or_path]
        return "" if row.source is None else str(row.path)
    if Path(name_or_path).is_dir() or Path(name_or_path).is_file():
        return name_or_path
    try:
        cached = try_to_load_from_cache(name_or_path, "config.json", revision=revision)
    except HFValidationError:  # a path that is not there
        return ""
    return str(Path(cached).parent) if isinstance(cached, str) else ""


def _check_translator(method: MethodPlan, reads: Sequence[_Read], missing: list[str]) -> None:
    """See that a translator is on this machine, and if so that it knows what it is given."""
    name = method.translator
    if name is None:
        return
    folder = _local_folder(name, None)
    given = ("evaluation", *method.after_translation)
    languages = [tag for read in reads if read.stage in given for tag in read.languages]
    if folder:
        check_translator(folder, languages)
    else:
        missing.append(f"translator: {name}")


def outline_trained(
    recipe: Recipe, encoder: str, language_model: str, **revisions: str | None
) -> PreTrainedModel:
    """What is trained, without weights: LayAlign, or the language model alone.

    Args:
        recipe: Whose settings are seen to fit the backbones.
        encoder: Folder, hub id or name of an embedded model.
        language_model: The same.
        **revisions: Of :func:`outline_backbones`.

    Raises:
        LayAlignError: A backbone cannot be used, or a setting does not fit it.
    """
    with preserved_random_state():
        backbones = outline_backbones(encoder, language_model, **revisions)
        if not recipe.stage.composite:
            return backbones[1]
        return LayAlignModel.from_backbones(*backbones, **recipe.model.config_fields())


def _processor(
    recipe: Recipe, folders: Sequence[str], missing: list[str]
) -> LayAlignProcessor | None:
    if not all(folders):
        return None
    try:
        return make_processor(recipe.processor, folders[0], folders[-1])
    except ConfigError as error:
        missing.append(f"tokenizers: {error}")
        return None


def _parameters(model: PreTrainedModel, method: MethodPlan) -> Values:
    trained = _trained_last(model, method)
    if not isinstance(model, LayAlignModel):
        count = sum(parameter.numel() for parameter in model.parameters())
        return {"language_model": count, "trained": trained}
    return {**count_by_part(model.named_parameters()), "trained": trained}


def _trained_last(model: PreTrainedModel, method: MethodPlan) -> int:
    """How many parameters the last stage trains."""
    for name, config in reversed(method.configs.items()):
        if name in method.language_model:
            alone = model.language_model if isinstance(model, LayAlignModel) else model
            return finetuned_size(alone, config)
        names = cast(LayAlignModel, model).trainable_names()
        return sum(model.get_parameter(name).numel() for name in names)
    return 0
