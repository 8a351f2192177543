"""Train one stage of a LayAlign model."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from layalign import processes
from layalign.chat_format import chat_prompt_template
from layalign.errors import ConfigError, TrainingError
from layalign.model.checkpoint import load_trained, read_weights
from layalign.model.sequence import check_encoder_length
from layalign.processing import LENGTHS, LayAlignProcessor
from layalign.train.batches import StageDataset
from layalign.train.checkpoints import checkpoint_path, checkpoints, newest_whole
from layalign.train.loop import TrainingLoop
from layalign.train.progress import ProgressCallback
from layalign.train.randomness import preserved_random_state
from layalign.train.record import DevResult, Record
from layalign.train.sharding import is_sharded
from layalign.train.stages import StageConfig
from layalign.train.stopping import StopRequest

if TYPE_CHECKING:
    from layalign.data.example import Example
    from layalign.model import LayAlignModel
    from layalign.train.recipe import ProcessorRecipe, Recipe


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What a stage has done."""

    updates: int
    """Optimizer updates."""

    examples: int
    """Examples read."""

    tokens: int
    """Encoder and language-model tokens read, without padding."""

    seconds: float
    """Wall-clock seconds over all sessions, evaluation and checkpoints included."""

    losses: tuple[float, ...]
    """Token mean of every update, nats; NaN for one that was not made."""

    best: DevResult | None
    """The development result of the weights that were kept; None without a development set, or if
    the last weights are kept, good or bad."""

    dev: tuple[DevResult, ...] = ()
    """All development results."""

    flops: float = 0.0
    """Floating-point operations, as :mod:`layalign.train.operations` estimates them."""

    trained_parameters: int = 0
    """How many numbers were learnt."""

    bad_updates: tuple[int, ...] = ()
    """Updates, from 1, that were not made because their loss or gradients were no numbers."""

    spikes: tuple[int, ...] = ()
    """Updates, from 1, whose loss was far above those before."""

    truncations: Mapping[str, int] = field(default_factory=dict)
    """Inputs cut in this session, counted each time one is read."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with perplexities beside the losses."""
        values = dataclasses.asdict(self)
        values["losses"] = [None if math.isnan(loss) else loss for loss in self.losses]
        for name in ("bad_updates", "spikes"):
            values[name] = list(values[name])
        values["dev"] = [result.to_dict() for result in self.dev]
        values["best"] = self.best.to_dict() if self.best else None
        return values


def train_stage(
    model: LayAlignModel,
    processor: LayAlignProcessor,
    examples: Sequence[Example],
    config: StageConfig,
    *,
    output_dir: str | os.PathLike[str],
    dev_examples: Sequence[Example] | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
    stop: StopRequest | None = None,
    report_to: Sequence[str] = (),
) -> StageResult:
    """Train what is between the backbones on examples with targets, in place.

    With a development set, and unless ``config.keep_best`` is False, the model ends with the
    weights that were best on it. It is left in eval mode; frozen parameters, random state and
    ``use_cache`` are left as found.

    Args:
        model: On the device to train on.
        processor: Template and lengths are the stage's where the stage sets them.
        examples: Each with a target; in memory, or on disk as :func:`layalign.data.hold` leaves
            them.
        config: The stage.
        output_dir: Checkpoints go here, as ``checkpoint-<update>``.
        dev_examples: To measure and to choose the best checkpoint.
        resume: Go on from the last checkpoint in ``output_dir`` that is whole, if there is one. On
            one process the result is that of an uninterrupted run, unless minutes limit it.
        progress: Called after every update.
        stop: See :func:`layalign.train.stopping.stop_on_signals`.
        report_to: Where figures go beside TensorBoard: ``wandb``, ``trackio``, ``mlflow``.

    Raises:
        DataError: There is no example, or one without a target.
        TrainingError: The loss is not a number too often, a checkpoint cannot be written, or
            ``output_dir`` holds another run's checkpoints.
        CheckpointError: No checkpoint is whole, or it does not fit the model.
        ConfigError: The checkpoints are of other settings, or the encoder cannot read texts of
            ``encoder_max_length``.
        StopError: ``stop`` was asked for. What was done is saved.
    """
    folder = Path(output_dir)
    checkpoint = find_checkpoint(folder, config, resume=resume)
    _check_dtype(model, config)
    stage_processor = processor_for(processor, config)
    check_encoder_length(stage_processor.encoder_max_length, model.encoder_positions)
    truncated = dict(processor.truncations)
    dev = StageDataset(dev_examples, stage_processor) if dev_examples else None
    with preserved_random_state(), activations_checkpointed(model.language_model, config):
        loop = TrainingLoop(
            model,
            config,
            trained=model.trainable_names(),
            loss=composite_loss,
            train=StageDataset(
                examples, stage_processor, text_dropout=config.text_dropout, seed=config.seed
            ),
            dev=dev,
            folder=folder,
            save=lambda folder, weights: model.save_pretrained(folder, state_dict=weights),
            record=Record.load(checkpoint) if checkpoint else None,
            progress=progress,
            stop=stop,
            report_to=report_to,
        )
        if checkpoint:
            _load(model, checkpoint)
        if not loop.is_finished:
            loop.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        record = loop.close()
        best = record.best if config.keep_best else None
        if is_sharded(model):
            pass  # whoever asked for that loads the checkpoint
        elif best is not None and best.update != record.usage.updates:
            _load(model, checkpoint_path(folder, best.update))
    model.train(False)
    cut = {key: n - truncated.get(key, 0) for key, n in processor.truncations.items()}
    return make_result(record, best=best, truncations=_of_all(cut))


def find_checkpoint(folder: Path, config: StageConfig, *, resume: bool) -> Path | None:
    """The checkpoint that a stage goes on from; None to begin it.

    Raises:
        TrainingError: There are checkpoints, but the stage is not to be resumed.
        CheckpointError: There are checkpoints, but none is whole.
        ConfigError: The checkpoints are of other settings.
    """

    def find() -> Path | None:
        existing = checkpoints(folder)
        if existing and not resume:
            raise TrainingError(
                f"{folder} already holds {existing[-1].name}; resume it, or choose another "
                "output_dir"
            )
        checkpoint = newest_whole(folder, keep_best=config.keep_best)
        if checkpoint is not None:
            config.check_same(checkpoint)
        return checkpoint

    return processes.by_main(find)


def composite_loss(model: Any, batch: Mapping[str, Any], num_items: Any) -> Tensor:
    """Loss of a :class:`LayAlignModel`; see :data:`~layalign.train.loop.LossFunction`."""
    loss: Tensor = model(**batch, num_items_in_batch=num_items, label_logits_only=True).loss
    return loss


def make_result(
    record: Record, *, best: DevResult | None, truncations: Mapping[str, int]
) -> StageResult:
    """Freeze a record."""
    usage = record.usage
    return StageResult(
        updates=usage.updates,
        examples=usage.examples,
        tokens=usage.tokens,
        seconds=usage.seconds,
        flops=usage.flops,
        trained_parameters=record.trained_parameters,
        losses=tuple(record.losses),
        bad_updates=tuple(record.bad_updates),
        spikes=tuple(record.spikes),
        best=best,
        dev=tuple(record.dev),
        truncations=truncations,
    )


def make_processor(
    settings: ProcessorRecipe, encoder: str, language_model: str, **revisions: str | None
) -> LayAlignProcessor:
    """The processor of a recipe.

    Args:
        settings: Of the recipe.
        encoder: Folder or hub id of the encoder.
        language_model: Folder or hub id of the language model.
        **revisions: Of :meth:`LayAlignProcessor.from_backbones`.

    Raises:
        ConfigError: A tokenizer cannot be loaded, or has no chat template where one is wanted.
    """
    values = dataclasses.asdict(settings)
    template, chat = values.pop("prompt_template"), values.pop("chat")
    system = values.pop("system")
    made = LayAlignProcessor.from_backbones(encoder, language_model, **revisions, **values)
    if chat:
        template = chat_prompt_template(made.tokenizer, system=system)
    if template is not None:
        made.prompt_template = template
    return made


def text_processor(recipe: Recipe, language_model: str, revision: str | None) -> LayAlignProcessor:
    """The processor of a recipe for a language model alone; see :func:`make_processor`."""
    revisions = {"encoder_revision": revision, "language_model_revision": revision}
    return make_processor(recipe.processor, language_model, language_model, **revisions)


def processor_for(processor: LayAlignProcessor, config: StageConfig) -> LayAlignProcessor:
    """A processor with a stage's template and lengths; tokenizers and counts are shared."""
    changed = copy.copy(processor)
    changed.prompt_template = config.template(processor.prompt_template)
    for name in LENGTHS:
        if (length := getattr(config, name)) is not None:
            setattr(changed, name, length)
    return changed


def with_lengths(config: StageConfig, processor: LayAlignProcessor) -> StageConfig:
    """A stage with a processor's lengths where it has none of its own."""
    lengths = {name: getattr(config, name) or getattr(processor, name) for name in LENGTHS}
    return dataclasses.replace(config, **lengths)


@contextlib.contextmanager
def activations_checkpointed(language_model: Any, config: StageConfig) -> Iterator[None]:
    """Recompute activations inside, if the stage asks for it."""
    if not config.gradient_checkpointing:
        yield
        return
    # Newer versions of transformers have another name for the same.
    new = hasattr(language_model, "activation_checkpointing_enable")
    name = "activation_checkpointing" if new else "gradient_checkpointing"
    getattr(language_model, f"{name}_enable")(**{f"{name}_kwargs": {"use_reentrant": False}})
    try:
        yield
    finally:
        getattr(language_model, f"{name}_disable")()


def _of_all(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of all processes, added up."""
    everyone = processes.gather(dict(counts))
    names = sorted(set().union(*everyone))
    return {name: sum(found.get(name, 0) for found in everyone) for name in names}


def _check_dtype(model: LayAlignModel, config: StageConfig) -> None:
    found = model.language_model.dtype
    if found == torch.float16:
        raise ConfigError(
            "the language model was loaded in float16, in which gradients of large updates vanish; "
            "load it in bfloat16 or float32"
        )
    if config.dtype == "float32" and found != torch.float32:
        raise ConfigError(
            f"dtype is float32, but the language model was loaded in {found}; load it in float32"
        )


def _load(model: LayAlignModel, folder: Path) -> None:
    load_trained(model, read_weights(folder), folder)
