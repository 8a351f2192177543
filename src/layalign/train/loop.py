"""The one training loop of the library: transformers' Trainer, thinly adapted.

What is ours: the order of examples, the limits and the schedule over them, the parameter groups,
development loss by language, checkpoints that are complete or absent, the end at a signal, and
updates that are not made because they are no numbers. All else, above all gradient accumulation and
the step itself, is theirs.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
)
from transformers.integrations.integration_utils import TensorBoardCallback

from layalign import processes
from layalign.errors import CheckpointError
from layalign.memory import return_freed_memory
from layalign.train.batches import StageDataset, UpdateSampler, byte_lengths, tokens_read
from layalign.train.callback import LoopCallback
from layalign.train.checkpoints import checkpoint_path
from layalign.train.dev import dev_loss
from layalign.train.guard import (
    explained_anomaly,
    go_on_or_stop,
    note_update,
    save_bad_update,
)
from layalign.train.limits import Usage, rate_factor
from layalign.train.operations import token_costs
from layalign.train.optimisation import parameter_groups, training_arguments
from layalign.train.progress import ProgressCallback
from layalign.train.randomness import remember_random_state
from layalign.train.record import Record, perplexity
from layalign.train.saving import load_moments, save_checkpoint
from layalign.train.sharding import forget_deepspeed, refuse_to_resume, take_from_main, whole
from layalign.train.stages import StageConfig
from layalign.train.stopping import StopRequest

LossFunction = Callable[[Any, Mapping[str, Any], Any], Tensor]
"""``(model, batch, num_items)``: sum of the batch's token losses divided by ``num_items``."""

SaveFunction = Callable[[Path, dict[str, Tensor]], None]
"""``(folder, weights)``."""


class TrainingLoop(Trainer):
    """Train one model for one stage.

    Args:
        model: Left on its device; parameters that are not named must not want gradients.
        config: The stage.
        trained: Exact names of the parameters to train.
        loss: The model's loss.
        train: Training set.
        dev: Development set, if any.
        folder: Where transformers may write; checkpoints and bad updates go there.
        save: Writes the trained weights, given by name, into the folder of a checkpoint; None for
            no checkpoints.
        save_last: Whether there is a checkpoint after the last update too.
        record: What an interrupted run had done.
        progress: Called after every update.
        stop: A wish to end, which is looked for after every forward pass.
        report_to: Where figures go beside TensorBoard, by the names of transformers.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        config: StageConfig,
        *,
        trained: Sequence[str],
        loss: LossFunction,
        train: StageDataset,
        dev: StageDataset | None,
        folder: Path,
        save: SaveFunction | None,
        save_last: bool = True,
        record: Record | None = None,
        progress: ProgressCallback | None = None,
        stop: StopRequest | None = None,
        report_to: Sequence[str] = (),
    ) -> None:
        """Prepare; nothing is changed but the random state."""
        self.stage = config
        self.trained = tuple(trained)
        self.loss_function = loss
        self.limits = config.limits(len(train))
        self.train_set, self.dev_set = train, dev
        self.record = record or Record()
        self.progress = progress
        self.stop = stop or StopRequest()
        self.folder, self.save, self.save_last = folder, save, save_last
        self.update_losses: list[Tensor] = []
        self.update_batches: list[Any] = []
        self.gradient_norm: Tensor | float = 0.0
        self.restore_random_state: Callable[[], None] = remember_random_state()
        self.tokens, self.flops = self.record.usage.tokens, self.record.usage.flops
        self.costs = token_costs(model, self.trained)
        parameters = map(model.get_parameter, self.trained)
        self.record.trained_parameters = sum(parameter.numel() for parameter in parameters)
        self.started = time.monotonic() - self.record.usage.seconds
        use_cache = getattr(model.config, "use_cache", None)
        super().__init__(
            model=model,
            args=training_arguments(config, model.device, folder, report_to),
            train_dataset=train,
            eval_dataset=dev,
            data_collator=train.collate,
        )
        if use_cache is not None:
            model.config.use_cache = use_cache  # the trainer's setting would be saved with it
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)
        self.add_callback(LoopCallback(self))
        writes = save and not self.is_finished and processes.is_main()
        if writes and importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            writer = SummaryWriter(log_dir=str(folder / "tensorboard"))
            self.add_callback(TensorBoardCallback(writer))

    @property
    def learner(self) -> PreTrainedModel:
        """The model, or what a sharding strategy has made of it."""
        return cast(PreTrainedModel, self.model)

    def close(self) -> Record:
        """Give up optimizer and moments at once, and keep what was recorded.

        A trainer refers to itself in many places; without this, gigabytes of moments stay until
        Python happens to look for cycles.
        """
        self.accelerator.free_memory()
        if self.is_deepspeed_enabled:
            forget_deepspeed()
        self.optimizer = self.lr_scheduler = self.callback_handler.optimizer = None
        self.callback_handler.lr_scheduler = None
        return_freed_memory()
        return self.record

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, after tokenising what is on disk.

        Raises:
            CheckpointError: What is resumed could run code.
        """
        if self.is_deepspeed_enabled and self.record.usage.updates:
            refuse_to_resume(self.folder)
        take_from_main(self.learner, self.trained)
        for dataset in (self.train_set, self.dev_set):
            if dataset is not None:
                dataset.prepare()
        with self.stop.held():
            if self._evaluation_is_due():
                self.state.global_step = self.record.usage.updates
                self.evaluate()
            try:
                return None if self.is_finished else super().train(*args, **kwargs)
            except pickle.UnpicklingError as error:  # of what is resumed
                raise CheckpointError(
                    f"a checkpoint in {self.folder} holds more than tensors, which could run code "
                    "and is not loaded; delete it to resume from the one before"
                ) from error

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.limits.reached(self.record.usage) and not self._evaluation_is_due()

    def _evaluation_is_due(self) -> bool:
        """Whether the last session ended between an update and the evaluation that follows it."""
        usage = self.record.usage
        if self.dev_set is None or usage.updates in (0, *(dev.update for dev in self.record.dev)):
            return False
        return usage.updates % self.stage.eval_every == 0 or self.limits.reached(usage)

    # What is read, and what it costs -----------------------------------------------------------

    def _get_train_sampler(self, train_dataset: Any = None) -> UpdateSampler:
        together = self.stage.examples_per_forward * processes.count()
        return UpdateSampler(
            byte_lengths(self.train_set.examples),
            batch_size=self.stage.batch_size,
            total=self.limits.examples,
            seed=self.stage.seed,
            group_by_length=self.stage.group_by_length,
            multiple=together if processes.count() > 1 else 1,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Read one update, and count its tokens and operations, those of all processes."""
        batches, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        read = sum(map(tokens_read, batches)), sum(map(self.costs.of, batches))
        for tokens, flops in processes.gather(read):
            self.tokens += tokens
            self.flops += flops
        self.update_batches = batches
        return batches, num_items

    def usage(self, updates: int) -> Usage:
        """What has been used up after that many updates."""
        examples = updates * self.stage.batch_size
        if self.limits.examples is not None:
            examples = min(examples, self.limits.examples)
        return Usage(
            updates=updates,
            examples=examples,
            tokens=self.tokens,
            seconds=self.seconds(),
            flops=self.flops,
        )

    def seconds(self) -> float:
        """Since the stage began, by the clock of the main process."""
        return processes.gather(time.monotonic() - self.started)[0]

    # Optimisation ------------------------------------------------------------------------------

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW over exactly the trained parameters; the gates apart."""
        if self.optimizer is None:
            groups = parameter_groups(self.learner, self.trained, self.stage)
            self.optimizer = torch.optim.AdamW(
                groups,
                lr=self.stage.lr,
                betas=self.stage.betas,
                eps=self.stage.eps,
                fused=self.args.device.type in ("cpu", "cuda"),
            )
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> LambdaLR:
        """A rate that follows whichever limit is nearest."""
        if self.lr_scheduler is None:

            def factor(updates: int) -> float:
                return rate_factor(
                    self.limits.progress_amid_update(self.usage(updates)),
                    schedule=self.stage.schedule,
                    warmup=self.stage.warmup,
                )

            self.lr_scheduler = LambdaLR(optimizer or self.create_optimizer(), factor)
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Token loss divided by the number of targets in the whole update."""
        with self.arithmetic():
            loss = self.loss_function(model, inputs, num_items_in_batch)
        # Several processes average their gradients, but the loss is to be their sum.
        loss = loss * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def arithmetic(self) -> Any:
        """Autocast, where the stage's arithmetic is not that of the weights."""
        wanted = self.stage.dtype == "bfloat16" and self.learner.dtype == torch.float32
        return torch.autocast(self.args.device.type, torch.bfloat16, enabled=wanted)

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Put a batch where the model is."""
        return cast(dict[str, Any], self._prepare_inputs(batch))

    def training_step(
        self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None
    ) -> Tensor:
        """Forward and backward of one micro-batch."""
        with explained_anomaly():
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.update_losses.append(loss)
        if self.accelerator.sync_gradients:  # the last one of the update
            gradients = [p.grad for p in self.learner.parameters() if p.grad is not None]
            self.gradient_norm = whole(torch.nn.utils.get_total_norm(gradients))
        # The trainer sums losses up for its log, which one that is no number would end.
        return loss.nan_to_num(0.0, 0.0, 0.0)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: transformers' estimate knows nothing of frozen parts."""
        return 0

    def judge_update(self) -> None:
        """Record the update whose gradients are ready, and prevent it if they are no numbers.

        Raises:
            TrainingError: So many in a row were none that the stage had better stop.
        """
        losses = processes.gather(float(torch.stack(self.update_losses).sum()))
        if self.is_deepspeed_enabled:  # which has the gradients, and has made the update already
            engine: Any = self.model_wrapped
            self.gradient_norm = engine.get_global_grad_norm() or 0.0
        loss, norm = sum(losses) / len(losses), float(self.gradient_norm)
        self.update_losses.clear()
        if note_update(self.record, loss, norm):
            return
        self.learner.zero_grad()
        update, size = self.state.global_step + 1, self.stage.batch_size
        order = itertools.islice(self._get_train_sampler(), (update - 1) * size, update * size)
        examples = [(index, self.train_set.examples[index]) for index in order if index >= 0]
        figures = {"update": update, "loss": loss, "gradient norm": norm}
        own = [{name: value.cpu() for name, value in b.items()} for b in self.update_batches]
        batches = [batch for step in zip(*processes.gather(own), strict=True) for batch in step]
        saved = processes.by_main(lambda: save_bad_update(self.folder, figures, batches, examples))
        limit = None if self.is_deepspeed_enabled else self.stage.max_bad_steps
        go_on_or_stop(self.record, figures, saved, limit=limit)

    # Development set ---------------------------------------------------------------------------

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Token-weighted loss on the development set, and per language."""
        if self.dev_set is None:
            return {}
        result = dev_loss(self, self.dev_set)
        self.record.dev.append(result)
        metrics = {"eval_loss": result.loss, "eval_perplexity": result.perplexity}
        for language, loss in result.languages.items():
            metrics[f"eval_perplexity_{language}"] = perplexity(loss)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    # Checkpoints -------------------------------------------------------------------------------

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        self.record.usage = dataclasses.replace(self.record.usage, seconds=self.seconds())
        save_checkpoint(self)

    def save_random_state(self, folder: Path) -> None:
        """Write that of this process as transformers stores it."""
        self._save_rng_state(str(folder))

    def random_state(self) -> tuple[str, bytes]:
        """Name and content of that file."""
        with tempfile.TemporaryDirectory() as folder:
            self._save_rng_state(folder)
            (file,) = Path(folder).iterdir()
            return file.name, file.read_bytes()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            load_moments(self, Path(checkpoint))

    def end_if_asked(self) -> None:
        """Save and end if somebody wants to.

        What the next update has read and computed already is not saved: it is done again.

        Raises:
            StopError: Somebody does.
        """
        signals = [signal for signal in processes.gather(self.stop.signal) if signal is not None]
        if not signals:
            return
        self.stop.signal = signals[0]
        update = self.record.usage.updates
        kept = checkpoint_path(self.folder, update)
        is_kept = processes.by_main(kept.exists)
        if self.save is not None and update and not is_kept:
            self.restore_random_state()
            self._save_checkpoint(self.model)
            is_kept = True
        done = f"update {update} is saved in {kept}" if is_kept else "nothing to save yet"
        raise self.stop.error(done)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Leave the weights: whoever resumes has loaded them; the rest follows elsewhere."""
