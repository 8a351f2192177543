"""Language models that are a LoRA on top of another one, stored as PEFT stores them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from transformers.utils.peft_utils import find_adapter_config_file

from layalign.errors import BackboneError

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


class LoraBase(NamedTuple):
    """The model below a LoRA."""

    name_or_path: str
    """Folder, hub id or name of an embedded model."""

    revision: str | None
    """Hub revision, if any."""


def lora_base(name_or_path: str, revision: str | None = None) -> LoraBase | None:
    """Return what a stored LoRA was trained on; None for a model that is no LoRA.

    Args:
        name_or_path: Local folder or hub id.
        revision: Hub revision.

    Raises:
        BackboneError: The adapter's configuration is damaged or names no base.
    """
    try:
        found = find_adapter_config_file(name_or_path, revision=revision)
    except (OSError, ValueError):  # no such model: whoever loads it says so
        return None
    if found is None:
        return None
    try:
        config = json.loads(Path(found).read_text(encoding="utf-8"))
        return LoraBase(str(config["base_model_name_or_path"] or ""), config.get("revision"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackboneError(
            f"{found} is damaged ({error}); expected what PEFT's save_pretrained writes"
        ) from error


def add_stored_lora(
    base: PreTrainedModel, name_or_path: str, revision: str | None = None
) -> PeftModel:
    """Put a stored LoRA on the model that it was trained on.

    Args:
        base: That model; changed in place.
        name_or_path: Local folder or hub id of the LoRA.
        revision: Hub revision.

    Raises:
        BackboneError: The LoRA is damaged or does not fit the model.
    """
    from peft import PeftModel

    try:
        with _without_renaming_warnings():
            return PeftModel.from_pretrained(base, name_or_path, revision=revision)
    except Exception as error:  # PEFT, safetensors and torch have a class of their own each
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise BackboneError(
            f"cannot put the LoRA {name_or_path!r} on {base.name_or_path!r}: {reason}"
        ) from error


def add_new_lora(language_model: PreTrainedModel, rank: int) -> PeftModel:
    """Put an untrained LoRA on every linear layer but the output head, which changes nothing yet.

    The scale is fixed: ``alpha = 2 * rank``.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (arXiv 2106.09685).

    Args:
        language_model: Changed in place.
        rank: Of every layer's change.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    with _without_renaming_warnings():
        adapted: PeftModel = get_peft_model(language_model, config)
    return adapted


@contextmanager
def _without_renaming_warnings() -> Iterator[None]:
    """PEFT still asks for attributes by names that newer transformers warn of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
        yield
