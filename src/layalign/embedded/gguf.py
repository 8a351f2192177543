"""Turn a GGUF file into an ordinary Hugging Face folder with dense float32 weights."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from layalign.errors import BackboneError, DownloadError, reason

MAGIC = b"GGUF"
FORMAT_VERSION = 3
INSTALL_HINT = 'install them with: pip install "layalign[quickstart]"'


def require_packages(
    names: Sequence[str] = ("gguf", "accelerate"),
    *,
    find: Callable[[str], object] = find_spec,
) -> None:
    """Check that the packages needed to read a GGUF file are installed.

    Raises:
        BackboneError: One is missing.
    """
    missing = [name for name in names if find(name) is None]
    if missing:
        raise BackboneError(
            f"reading a GGUF file needs {' and '.join(names)}, but {' and '.join(missing)} cannot "
            f"be imported; {INSTALL_HINT}"
        )


def convert(path: Path, folder: Path) -> None:
    """Write the model and its tokenizer as a Hugging Face folder.

    The 4-bit values times their scales do not fit bfloat16 exactly, so float32 is kept.

    Args:
        path: The GGUF file.
        folder: An existing folder; gets config, safetensors and tokenizer files.

    Raises:
        DownloadError: It is not a GGUF file of the supported version.
        BackboneError: A package is missing or too old.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _check_header(path)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, trust_remote_code=False
        )
        tokenizer = AutoTokenizer.from_pretrained(
            path.parent, gguf_file=path.name, trust_remote_code=False
        )
    except ImportError as error:
        raise BackboneError(
            f"{path.name} cannot be read: {reason(error)}; {INSTALL_HINT}"
        ) from error
    # The weights are dense now, but transformers still calls the model quantised and would
    # refuse to save it.
    del model.hf_quantizer
    del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        header = file.read(8)
    if len(header) < 8 or struct.unpack("<4sI", header) != (MAGIC, FORMAT_VERSION):
        raise DownloadError(
            f"{path.name} is damaged: expected magic {MAGIC!r} and version {FORMAT_VERSION}, got "
            f"{header!r}; delete it and fetch again"
        )
