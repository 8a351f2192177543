"""What a model shows of itself, and how it comes from and goes to a disk and the Hub."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from layalign.model import checkpoint
from layalign.model.hub import upload
from layalign.model.parts import GATES, count_by_part

if TYPE_CHECKING:
    from transformers import PreTrainedConfig
    from typing_extensions import Self

    from layalign.model.composite import LayAlignModel


class Storing:
    """Saving, loading, uploading and ``repr`` of :class:`LayAlignModel`."""

    def __repr__(self: LayAlignModel) -> str:  # type: ignore[misc]
        """A few lines, where that of a module would be hundreds."""
        config = self.config
        trained = {name: self.get_parameter(name) for name in self.trainable_names()}
        counts = count_by_part(trained.items())
        parts = ", ".join(f"{part} {count:,}" for part, count in counts.items())
        lines = [
            _backbone("encoder", config.encoder, config.encoder_config, config.n_enc_layers),
            _backbone("language_model", config.language_model, config.text_config, None),
            f"trained: {sum(counts.values()):,} parameters ({parts})",
        ]
        if GATES in trained and not trained[GATES].is_meta:
            low, high = trained[GATES].aminmax()
            lines.append(f"gates: {low.item():.3g} … {high.item():.3g}")
        return "\n".join([f"{type(self).__name__}(", *(f"  {line}" for line in lines), ")"])

    def save_pretrained(
        self: LayAlignModel, save_directory: Any, *args: Any, **kwargs: Any
    ) -> None:  # type: ignore[misc]
        """Write the trained parameters and the configuration; see :func:`checkpoint.save`."""
        checkpoint.save(self, save_directory, *args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Self:
        """Load a checkpoint and the backbones it names; see :func:`checkpoint.load`."""
        return checkpoint.load(cls, pretrained_model_name_or_path, **kwargs)

    def push_to_hub(self: LayAlignModel, repo_id: str, **kwargs: Any) -> str:  # type: ignore[misc]
        """Upload what :meth:`save_pretrained` writes, with a model card.

        A checkpoint needs its processor too: ``layalign export`` uploads both.

        Args:
            repo_id: Such as ``user/name``; created if it is not there.
            **kwargs: Of :func:`layalign.model.hub.upload`.

        Returns:
            The address of the change.

        Raises:
            CheckpointError: The Hub refuses it or cannot be reached.
        """
        with tempfile.TemporaryDirectory() as folder:
            checkpoint.save(self, folder, name=repo_id)
            return upload(folder, repo_id, **kwargs)


def _backbone(role: str, place: str, config: PreTrainedConfig, n_layers: int | None) -> str:
    layers = n_layers or config.num_hidden_layers
    return f"{role}: {place or '?'} ({config.model_type}, {layers} layers of {config.hidden_size})"
