"""Find the tokenizers that belong to backbones and to checkpoints."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from layalign.embedded import resolve
from layalign.errors import ConfigError, reason
from layalign.model.checkpoint import backbone_places, read_config
from layalign.model.lora import lora_base

ENCODER_TOKENIZER_FOLDER = "encoder_tokenizer"
TOKENIZER_FOLDER = "tokenizer"


def load_tokenizer(name_or_path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model; that of a LoRA without one is its base's.

    Args:
        name_or_path: Folder, hub id or name of an embedded model.
        revision: Hub revision.

    Raises:
        ConfigError: There is none.
    """
    place = resolve(name_or_path)
    try:
        return _load(place, revision)
    except Exception as error:  # of tokenizers, sentencepiece or whatever reads the files
        if base := lora_base(place, revision):
            return load_tokenizer(base.name_or_path, base.revision)
        raise ConfigError(
            f"cannot load a tokenizer from {name_or_path!r}: {reason(error)}; "
            "expected a folder with tokenizer files or a Hugging Face model id"
        ) from error


def _load(place: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        place, revision=revision, trust_remote_code=False
    )
    return tokenizer


def checkpoint_tokenizers(folder: Path) -> list[PreTrainedTokenizerBase]:
    """Load a checkpoint's encoder tokenizer and language-model tokenizer.

    In place of those that the folder does not hold come those of its backbones, by the revisions
    of training.
    """
    own = [folder / ENCODER_TOKENIZER_FOLDER, folder / TOKENIZER_FOLDER]
    if all(place.is_dir() for place in own):
        return [_load(place) for place in own]
    config = read_config(folder)
    revisions = config.encoder_revision, config.language_model_revision
    return list(map(load_tokenizer, backbone_places(folder, config), revisions))
