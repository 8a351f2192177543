"""Fine-tune a language model itself on English text, before it is frozen inside LayAlign."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from layalign import processes
from layalign.durable import let_others_read
from layalign.eval.report import write_json
from layalign.eval.run_folder import FINETUNE_NAME
from layalign.model.checkpoint import WEIGHTS_NAME, load_trained, read_weights
from layalign.model.lora import add_new_lora
from layalign.model.sequence import IGNORE_INDEX, label_positions, token_loss
from layalign.processing import LayAlignProcessor
from layalign.train.batches import StageDataset
from layalign.train.loop import TrainingLoop
from layalign.train.progress import ProgressCallback
from layalign.train.randomness import preserved_random_state
from layalign.train.record import Record
from layalign.train.sharding import is_sharded, whole
from layalign.train.stages import StageConfig
from layalign.train.stopping import StopRequest
from layalign.train.trainer import (
    StageResult,
    activations_checkpointed,
    find_checkpoint,
    make_result,
    processor_for,
)

if TYPE_CHECKING:
    from layalign.data.example import Example
    from layalign.processing import Feature


def finetune_language_model(
    language_model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    config: StageConfig,
    prompt_template: str,
    dev_examples: Sequence[Example] | None = None,
    revision: str | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    figures: Mapping[str, Any] = MappingProxyType({}),
    checkpoint_dir: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
    stop: StopRequest | None = None,
    report_to: Sequence[str] = (),
) -> StageResult:
    """Train a plain language model on questions and answers, in place.

    The text is BOS, the prompt, the target and EOS, and the loss is on the target and its EOS:
    what LayAlign later shows the model, without soft tokens. Weights in bfloat16 are trained in
    float32 with bfloat16 arithmetic (autocast), then brought back. The last weights are kept. The
    model is left in eval mode. With ``config.lora_rank`` a LoRA is trained in place of all weights,
    and merged into them at the end.

    Args:
        language_model: Not yet inside a :class:`LayAlignModel`; on the device to train on.
        tokenizer: Its tokenizer.
        examples: English questions, each with a target.
        config: As for a stage; there are no gates and no encoder.
        prompt_template: With ``{question}``; ``config.prompt_template`` goes before it.
        dev_examples: To measure.
        revision: Of the language model, if it is from the hub; a LoRA keeps it.
        output_dir: The result is written here with its tokenizer: an ordinary folder of the whole
            model, or of the LoRA as PEFT stores it; and in ``finetune.json`` the prompt, by which
            an evaluation finds it again, and the figures.
        figures: Further ones that are to stand there.
        checkpoint_dir: Checkpoints go here, each of 12 bytes for every trained number; None for
            none. There is none after the last update.
        resume: Go on from the last checkpoint there that is whole, if there is one.
        progress: Called after every update.
        stop: See :func:`layalign.train.stopping.stop_on_signals`.
        report_to: As in :func:`layalign.train.train_stage`.

    Raises:
        DataError: There is no example, or one without a target.
        TrainingError: The loss is not a number too often, or a checkpoint cannot be written.
        CheckpointError: No checkpoint is whole, or it does not fit the model.
        ConfigError: The checkpoints are of other settings.
        StopError: ``stop`` was asked for. What was done is saved.
    """
    processor = LayAlignProcessor(tokenizer, tokenizer, prompt_template=prompt_template)
    processor = processor_for(processor, config)
    bos, found = language_model.config.bos_token_id, language_model.dtype
    with preserved_random_state(), tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(config.seed)
        learner: Any = language_model
        if config.lora_rank is not None:
            learner = add_new_lora(language_model, config.lora_rank, revision)
        with (
            _trained_in_float32(learner, config) as (trained, arithmetic),
            activations_checkpointed(language_model, config),
        ):
            dtype = arithmetic if config.dtype == "auto" else config.dtype
            config = replace(config, dtype=dtype, keep_best=False)
            folder = Path(checkpoint_dir or scratch)
            checkpoint = find_checkpoint(folder, config, resume=resume)
            loop = TrainingLoop(
                learner,
                config,
                trained=trained,
                loss=language_model_loss,
                train=PlainDataset(examples, processor, bos),
                dev=PlainDataset(dev_examples, processor, bos) if dev_examples else None,
                folder=folder,
                save=_save_trained if checkpoint_dir else None,
                save_last=False,
                record=Record.load(checkpoint) if checkpoint else None,
                progress=progress,
                stop=stop,
                report_to=report_to,
            )
            if checkpoint:
                load_trained(learner, read_weights(checkpoint), checkpoint, names=trained)
            loop.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            record = loop.close()
    cut = {key: count for key, count in processor.truncations.items() if key != "encoder"}
    result = make_result(record, best=None, truncations=cut)
    is_lora = learner is not language_model
    if output_dir is not None:
        _save(learner, Path(output_dir), is_lora=is_lora, dtype=found)
        if processes.is_main():
            let_others_read(Path(output_dir))
            tokenizer.save_pretrained(output_dir)
            left = {"prompt_template": processor.prompt_template, **result.to_dict(), **figures}
            write_json(Path(output_dir) / FINETUNE_NAME, left)
    if is_lora and not is_sharded(learner):
        learner.merge_and_unload()
    language_model.train(False)
    return result


def _save_trained(folder: Path, weights: dict[str, Tensor]) -> None:
    contiguous = {name: weight.contiguous() for name, weight in weights.items()}
    save_file(contiguous, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    let_others_read(folder)


def _save(learner: Any, folder: Path, *, is_lora: bool, dtype: torch.dtype) -> None:
    """Write the result as transformers or PEFT does; the main process writes, all take part."""
    # PEFT would look up the base to see if its embeddings have changed, which they never do.
    options: dict[str, Any] = {"save_embedding_layers": False} if is_lora else {}
    if is_sharded(learner):
        parts = learner.named_parameters()
        options["state_dict"] = {name: whole(part).to("cpu", dtype) for name, part in parts}
    processes.by_main(partial(learner.save_pretrained, folder, **options))


class PlainDataset(StageDataset):
    """Examples as text for a language model alone: BOS, prompt, target, EOS.

    Args:
        examples: Each with a target.
        processor: Both of its tokenizers are the language model's; only the text is used.
        bos_token_id: Put in front; None for a model without one.
    """

    def __init__(
        self, examples: Sequence[Example], processor: LayAlignProcessor, bos_token_id: int | None
    ) -> None:
        """Check the examples."""
        super().__init__(examples, processor)
        self.start = [] if bos_token_id is None else [bos_token_id]

    def __getitem__(self, index: int) -> Feature:
        """Token ids and labels of one example."""
        feature = super().__getitem__(index)
        feature["input_ids"] = self.start + feature["input_ids"]
        feature["labels"] = [IGNORE_INDEX] * len(self.start) + feature["labels"]
        return feature

    def collate(self, features: list[Feature]) -> dict[str, Any]:
        """Tensors padded on the left, with positions counted from the first real token."""
        batch = super().collate(features)
        mask = batch["attention_mask"]
        return {
            "input_ids": batch["input_ids"],
            "attention_mask": mask,
            "position_ids": (mask.cumsum(-1) - 1).clamp(min=0),
            "labels": batch["labels"],
        }


def language_model_loss(model: Any, batch: Mapping[str, Any], num_items: Any) -> Tensor:
    """Loss of a plain model; see :data:`~layalign.train.loop.LossFunction`."""
    inputs = dict(batch)
    labels = inputs.pop("labels")
    kept = label_positions(labels)
    logits = model(**inputs, use_cache=False, logits_to_keep=kept).logits
    return token_loss(logits, labels[:, kept], num_items)


@contextmanager
def _trained_in_float32(
    learner: PreTrainedModel, config: StageConfig
) -> Iterator[tuple[list[str], Literal["bfloat16", "float32"]]]:
    """Hold what is trained in float32; yield its names and the arithmetic the model came for."""
    found = learner.dtype
    wanted = {name: p.requires_grad for name, p in learner.named_parameters()}
    if config.lora_rank is None:
        learner.requires_grad_(True)
    trained = [name for name, p in learner.named_parameters() if p.requires_grad]
    # By name: those who shard a model give it other parameters, and must not find us with these.
    _cast(map(learner.get_parameter, trained), torch.float32)
    try:
        yield trained, "float32" if found == torch.float32 else "bfloat16"
    finally:
        if not is_sharded(learner):
            _cast(map(learner.get_parameter, trained), found)
            for name, parameter in learner.named_parameters():
                parameter.grad = None
                parameter.requires_grad_(wanted[name])


def _cast(parameters: Iterable[nn.Parameter], dtype: torch.dtype) -> None:
    # Not `model.to(dtype)`: that would also round buffers that are float32 in every model.
    for parameter in parameters:
        parameter.data = parameter.data.to(dtype)
