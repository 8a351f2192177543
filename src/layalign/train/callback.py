"""What transformers' trainer asks a :class:`~layalign.train.loop.TrainingLoop` between updates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from layalign.train.guard import bad_in_a_row
from layalign.train.progress import make_progress
from layalign.train.randomness import remember_random_state

if TYPE_CHECKING:
    from layalign.train.loop import TrainingLoop


class LoopCallback(TrainerCallback):
    """Keep the record, and say when to evaluate, save and stop."""

    def __init__(self, loop: TrainingLoop) -> None:
        """Belong to a loop."""
        self.loop = loop

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Gradients are there."""
        self.loop.judge_update()

    def on_substep_end(self, *args: Any, **kwargs: Any) -> None:
        """A part of an update is done."""
        self.loop.end_if_asked()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """An update is done."""
        loop = self.loop
        usage = loop.record.usage = loop.usage(state.global_step)
        # Not amid bad updates: if they go on, the checkpoint before them is the one to go back to.
        amid = bad_in_a_row(loop.record.losses) > 0
        due = state.global_step % loop.stage.eval_every == 0 and not amid
        control.should_training_stop = over = loop.limits.reached(usage)
        control.should_evaluate = (due or over) and loop.dev_set is not None
        control.should_save = loop.save is not None and (due or (over and loop.save_last))
        loop.restore_random_state = remember_random_state()
        if unusual := loop.record.unusual:
            loop.log(unusual)
        if loop.progress is not None:
            loop.progress(make_progress(loop.limits, usage, loop.record))
        loop.end_if_asked()
        return control
