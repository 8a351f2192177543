"""What a recipe would do, without any weights: data, parameters, updates, tokens and memory."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import PreTrainedModel

from layalign.data import DataSource, Example, LeakGuard, hold, iter_examples, mix
from layalign.embedded import models_table
from layalign.errors import ConfigError
from layalign.eval.prompts import with_question
from layalign.model import LayAlignModel
from layalign.model.backbones import outline_backbones
from layalign.model.parts import count_by_part
from layalign.model.sequence import IGNORE_INDEX
from layalign.processing import LayAlignProcessor
from layalign.train.batches import StageDataset, byte_lengths, spread, to_learn
from layalign.train.finetune import PlainDataset
from layalign.train.footprint import Lengths, finetune_memory, finetuned_size, stage_memory
from layalign.train.methods import MethodPlan
from layalign.train.randomness import preserved_random_state
from layalign.train.recipe import Recipe
from layalign.train.stages import StageConfig
from layalign.train.trainer import make_processor, processor_for, with_lengths

_SAMPLE = 256  # examples tokenised for the mean
_LONGEST = 16  # and of the longest ones in bytes, for the maximum

Values = dict[str, Any]


def make_plan(method: MethodPlan, *, dtype: str, folder: Path) -> tuple[dict[str, Values], Values]:
    """Find out what a run would do, with what is on this machine; nothing is downloaded.

    Data that is there is read and checked. Data that is not counts with the ``limit`` that the
    recipe gives it, for each of its languages; without one its size is unknown, and so is what
    follows from it. The backbones are built from their configurations, if these are in a folder or
    in a cache.

    Args:
        method: The run, from :func:`plan_method`.
        dtype: Type that the backbones would be loaded in.
        folder: An empty one, for examples that are too many for memory.

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
    recipe, configs = method.recipe, method.configs
    reads, examples = _read(recipe, configs, folder)
    missing = [f"data: {read.where}" for read in reads if not read.found]
    folders = _backbone_folders(method, missing)
    outline = _outline(recipe, folders) if all(folders) else None
    processor = _processor(recipe, folders, missing)
    if isinstance(outline, LayAlignModel) and processor is not None:
        processor.check_model(outline.config)
    stages, details = {}, {}
    for name, config in configs.items():
        counts = [read.count for read in reads if (read.stage, read.part) == (name, "train")]
        stage = _Stage(name, config, method, examples[name], counts)
        stages[name] = stage.counts()
        details[name] = stage.details(outline, processor, dtype)
    return stages, {
        "method": {
            "name": recipe.method,
            "label": method.method.label,
            "description": method.method.description,
        },
        "parameters": None if outline is None else _parameters(outline, method),
        "stages": details,
        "sources": [read.to_dict() for read in reads],
        "missing": missing,
    }


class _Read:
    """A data source, and what of it is on this machine."""

    def __init__(self, stage: str, part: str, source: DataSource) -> None:
        self.stage, self.part, self.source = stage, part, source
        named = ((field, getattr(source, field, None)) for field in ("name", "path", "hub"))
        field, self.where = next((field, str(value)) for field, value in named if value is not None)
        self.found = field == "name" or (field == "path" and Path(self.where).exists())
        self.count = 0 if self.found else _expected(source)

    def examples(self, load: Callable[[DataSource], Iterable[Example]]) -> Iterator[Example]:
        """Yield and count what is there."""
        for example in load(self.source) if self.found else ():
            self.count = (self.count or 0) + 1
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


def _backbone_folders(method: MethodPlan, missing: list[str]) -> tuple[str, str]:
    """Local folders of both backbones, empty for one that is not on this machine.

    Where nothing but the language model is trained, its folder stands for both.
    """
    recipe = method.recipe
    settings = recipe.model
    chosen = [("language model", settings.language_model, settings.language_model_revision)]
    if method.composite:
        chosen.insert(0, ("encoder", settings.encoder, settings.encoder_revision))
    translator = method.method.translates and recipe.evaluation.translator
    if translator and not _local_folder(translator, None):
        missing.append(f"translator: {translator}")
    folders = []
    for role, name, revision in chosen:
        folders.append(_local_folder(name, revision))
        if not folders[-1]:
            missing.append(f"{role}: {name}")
    return folders[0], folders[-1]


def _local_folder(name_or_path: str, revision: str | None) -> str:
    embedded = {row.name: row for row in models_table()}
    if name_or_path in embedded:
        row = embedded[name_or_path]
        return "" if row.source is None else str(row.path)
    if Path(name_or_path).is_dir():
        return name_or_path
    try:
        cached = try_to_load_from_cache(name_or_path, "config.json", revision=revision)
    except HFValidationError:  # a path that is not there
        return ""
    return str(Path(cached).parent) if isinstance(cached, str) else ""


def _outline(recipe: Recipe, folders: tuple[str, str]) -> PreTrainedModel:
    """What is trained: LayAlign, or the language model alone."""
    with preserved_random_state():
        encoder, language_model = outline_backbones(*folders)
        if not recipe.stage.composite:
            return language_model
        return LayAlignModel.from_backbones(encoder, language_model, **recipe.model.config_fields())


def _processor(
    recipe: Recipe, folders: tuple[str, str], missing: list[str]
) -> LayAlignProcessor | None:
    if not all(folders):
        return None
    try:
        return make_processor(recipe.processor, *folders)
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
            return finetuned_size(_alone(model), config)
        names = cast(LayAlignModel, model).trainable_names()
        return sum(model.get_parameter(name).numel() for name in names)
    return 0


def _alone(model: PreTrainedModel) -> PreTrainedModel:
    return model.language_model if isinstance(model, LayAlignModel) else model


class _Stage:
    """One stage of the plan."""

    def __init__(
        self,
        name: str,
        config: StageConfig,
        method: MethodPlan,
        examples: Sequence[Example],
        counts: Sequence[int | None],
    ) -> None:
        self.config, self.recipe = config, method.recipe
        self.is_plain = name in method.language_model
        self.examples = examples
        known = [count for count in counts if count is not None]
        self.n_examples = sum(known) if len(known) == len(counts) else None
        mixing = getattr(self.recipe.data, name).mix
        if mixing is not None:
            self.examples = mix(self.examples, mixing)
            self.n_examples = mixing.total or self.n_examples
        self.limits = config.limits(self.n_examples or 0)
        self.known = self.n_examples is not None or config.epochs is None

    def counts(self) -> Values:
        updates = self.limits.updates if self.known else None
        return {"examples": self.n_examples, "updates": updates}

    def details(
        self, model: PreTrainedModel | None, processor: LayAlignProcessor | None, dtype: str
    ) -> Values:
        if self.examples and processor is not None:
            lengths, mean = self._measured(processor)
            tokens_from = "sample"
        else:
            lengths, tokens_from = self._allowed(), "lengths"
            mean = float(lengths.encoder + lengths.prompt + lengths.target)
        read = self.limits.examples if self.known else None
        tokens = None if read is None else round(read * mean)
        if self.limits.tokens is not None and (tokens is None or tokens > self.limits.tokens):
            tokens, tokens_from = self.limits.tokens, "limit"
        return {
            "tokens": tokens,
            "tokens_from": tokens_from,
            "longest": dataclasses.asdict(lengths),
            "memory_per_device": None if model is None else self._memory(model, lengths, dtype),
        }

    def _memory(self, model: PreTrainedModel, lengths: Lengths, dtype: str) -> Values:
        if self.is_plain:
            memory = finetune_memory(_alone(model), self.config, lengths, dtype=dtype)
        else:
            memory = stage_memory(cast(LayAlignModel, model), self.config, lengths, dtype=dtype)
        return {**dataclasses.asdict(memory), "total": memory.total}

    def _allowed(self) -> Lengths:
        """Every part as long as the recipe allows."""
        names = ("encoder_max_length", "prompt_max_length", "target_max_length")
        # A fine-tune does not look at the recipe's processor.
        defaults = self.recipe.processor
        encoder, prompt, target = (
            getattr(self.config, name) or getattr(defaults, name) for name in names
        )
        if self.is_plain:
            return Lengths(encoder=0, prompt=prompt, target=target)
        no_prompt = self.config.prompt_template == ""
        return Lengths(encoder=encoder, prompt=0 if no_prompt else prompt, target=target)

    def _measured(self, processor: LayAlignProcessor) -> tuple[Lengths, float]:
        """The longest of each part, and the mean of all tokens of an example, in a sample."""
        dataset = self._dataset(processor)
        sizes = byte_lengths(self.examples)
        sample = [self._tokens(dataset, i) for i in spread(range(len(sizes)), _SAMPLE)]
        longest = np.argsort(sizes, kind="stable")[-_LONGEST:].tolist()
        encoder, prompt, target = (
            max(column)
            for column in zip(*sample, *(self._tokens(dataset, i) for i in longest), strict=False)
        )
        mean = sum(map(sum, sample)) / len(sample)
        return Lengths(encoder=encoder, prompt=prompt, target=target), mean

    def _dataset(self, processor: LayAlignProcessor) -> StageDataset:
        if not self.is_plain:
            return StageDataset(
                self.examples,
                processor_for(processor, self.config),
                text_dropout=self.config.text_dropout,
                seed=self.config.seed,
            )
        plain = LayAlignProcessor(
            processor.tokenizer,
            processor.tokenizer,
            prompt_template=with_question(processor.prompt_template),
        )
        config = with_lengths(self.config, processor)
        return PlainDataset(self.examples, processor_for(plain, config), None)

    def _tokens(self, dataset: StageDataset, index: int) -> tuple[int, int, int]:
        feature = dataset[index]
        target = sum(label != IGNORE_INDEX for label in feature["labels"])
        encoder = 0 if self.is_plain else len(feature["encoder_input_ids"])
        return encoder, len(feature["input_ids"]) - target, target
