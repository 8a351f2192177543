"""What a model shows of itself, and how it comes from and goes to a disk and the Hub."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any, cast

from transformers import PreTrainedModel

from layalign.model import checkpoint
from layalign.model.config import LayAlignConfig
from layalign.model.hub import upload
from layalign.model.parts import GATES, count_by_part

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from layalign.model.composite import LayAlignModel


class StoredModel(PreTrainedModel):
    """Saving, loading, uploading and ``repr`` of :class:`LayAlignModel`, its only subclass."""

    config: LayAlignConfig

    def trainable_names(self) -> tuple[str, ...]:
        """Exact names of the trained parameters."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """A few lines, where that of a module would be hundreds."""
        config = self.config
        trained = {name: self.get_parameter(name) for name in self.trainable_names()}
        counts = count_by_part(trained.items())
        parts = ", ".join(f"{part} {count:,}" for part, count in counts.items())
        lines = [
            _backbone("encoder", config.encoder, config.encoder_config, config.n_enc_layers),
            _backbone(
                "language_model", config.language_model, config.text_config, config.n_llm_layers
            ),
            f"trained: {sum(counts.values()):,} parameters ({parts})",
        ]
        if GATES in trained and not trained[GATES].is_meta:
            low, high = trained[GATES].aminmax()
            lines.append(f"gates: {low.item():.3g} … {high.item():.3g}")
        return "\n".join([f"{type(self).__name__}(", *(f"  {line}" for line in lines), ")"])

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """Write the trained parameters and the configuration; see :func:`checkpoint.save`."""
        checkpoint.save(cast("LayAlignModel", self), save_directory, *args, **kwargs)

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> LayAlignModel:
        """Load a checkpoint and the backbones it names; see :func:`checkpoint.load`."""
        made_of = cast("type[LayAlignModel]", cls)
        return checkpoint.load(made_of, pretrained_model_name_or_path, **kwargs)

    def push_to_hub(  # type: ignore[override]
        self, repo_id: str, *, include_backbones: bool = False, **kwargs: Any
    ) -> str:
        """Upload what :meth:`save_pretrained` writes, with a model card.

        A checkpoint needs its processor too: ``layalign export`` uploads both.

        Args:
            repo_id: Such as ``user/name``; created if it is not there.
            include_backbones: As in :meth:`save_pretrained`.
            **kwargs: Of :func:`layalign.model.hub.upload`.

        Returns:
            The address of the change.

        Raises:
            CheckpointError: The Hub refuses it or cannot be reached.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, include_backbones=include_backbones, name=repo_id)
            return upload(folder, repo_id, **kwargs)


def _backbone(role: str, place: str, config: PreTrainedConfig, n_layers: int) -> str:
    kind = f"{config.model_type}, {n_layers} layers of {config.hidden_size}"
    return f"{role}: {place or '?'} ({kind})"
