"""From a place on disk or on the hub to what can be evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from transformers import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoModelForSeq2SeqLM,
    PreTrainedModel,
)

from layalign.errors import BackboneError, CheckpointError, ConfigError, reason
from layalign.eval.prompts import with_question
from layalign.eval.provenance import find_model, is_language_model
from layalign.eval.run_folder import FINETUNE_NAME
from layalign.eval.systems import BARE, LAYALIGN, BareLLM, BatchedSystem, LayAlignSystem
from layalign.eval.translating import SequenceToSequence, check_languages
from layalign.model import LayAlignModel
from layalign.model.backbones import load_language_model
from layalign.model.checkpoint import read_config
from layalign.model.pretrained import load_config, load_model
from layalign.model.tokenizers import load_tokenizer
from layalign.processing import LayAlignProcessor

Model = TypeVar("Model", bound=PreTrainedModel)
DTYPES = ("bfloat16", "float32")  # in float16 weights would no longer be known for the same
_TRANSLATOR = "encoder-decoder that translates"


def load_systems(
    checkpoint: str | PathLike[str],
    *,
    bare: bool = True,
    bare_prompt_template: str | None = None,
    dtype: str | None = None,
    **options: Any,
) -> dict[str, BatchedSystem]:
    """Load a checkpoint of LayAlign, or a plain language model, to a GPU if there is one.

    Unless ``dtype`` says otherwise, the backbones of a checkpoint are loaded on a GPU in the type
    that they were trained beside: their files may hold a larger one, for which there is no room.
    Else they are loaded as stored.

    Args:
        checkpoint: Folder or hub id of either, or the name of an embedded language model.
        bare: Whether the bare language model inside LayAlign is wanted too.
        bare_prompt_template: As in :func:`make_systems` and :func:`load_bare`.
        dtype: Arithmetic type of the backbones, one of :data:`DTYPES`.
        **options: Of all systems, such as ``max_new_tokens``.

    Returns:
        ``LayAlign`` and, if wanted, ``bare LLM``; for a plain language model ``bare LLM`` alone.

    Raises:
        LayAlignError: The checkpoint cannot be used.
    """
    if dtype not in (None, *DTYPES):
        raise ConfigError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    folder = find_model(checkpoint)
    if is_language_model(folder):
        options |= {"bare_prompt_template": bare_prompt_template, "loading": {"dtype": dtype}}
        return {BARE: load_bare(folder, **options)}
    model = LayAlignModel.from_pretrained(checkpoint, dtype=dtype or _dtype(folder))
    return make_systems(
        _on_gpu(model),
        LayAlignProcessor.from_pretrained(checkpoint),
        bare=bare,
        bare_prompt_template=bare_prompt_template,
        **options,
    )


def make_systems(
    model: LayAlignModel,
    processor: LayAlignProcessor,
    *,
    bare: bool = True,
    bare_prompt_template: str | None = None,
    **options: Any,
) -> dict[str, BatchedSystem]:
    """LayAlign and, beside it, its bare language model.

    Args:
        model: What answers.
        processor: Its own.
        bare: Whether the bare language model is wanted too.
        bare_prompt_template: Its prompt, with ``{question}``; the processor's by default, with
            the question on a line before it if it does not take the question itself.
        **options: Of both systems, such as ``max_new_tokens``.

    Returns:
        ``LayAlign`` and, if wanted, ``bare LLM``.
    """
    systems: dict[str, BatchedSystem] = {LAYALIGN: LayAlignSystem(model, processor, **options)}
    if bare:
        template = bare_prompt_template or with_question(processor.prompt_template)
        systems[BARE] = BareLLM(
            model.language_model, processor.tokenizer, prompt_template=template, **options
        )
    return systems


def load_bare(
    folder: Path,
    *,
    bare_prompt_template: str | None = None,
    loading: Mapping[str, Any] = MappingProxyType({}),
    **options: Any,
) -> BareLLM:
    """Load a plain language model, to a GPU if there is one.

    Args:
        folder: With model and tokenizer.
        bare_prompt_template: With ``{question}``; by default the one that the model was fine-tuned
            with, and for a model that was not fine-tuned here the question and a line break.
        loading: Of :func:`layalign.model.backbones.load_language_model`, such as ``dtype``.
        **options: Of the system.

    Raises:
        LayAlignError: It cannot be used.
    """
    template = bare_prompt_template or with_question(
        read_finetune(folder).get("prompt_template", "")
    )
    tokenizer = load_tokenizer(fspath(folder))
    model = load_language_model(fspath(folder), **loading)
    return BareLLM(_on_gpu(model), tokenizer, prompt_template=template, **options)


def load_translator(name_or_path: str, **options: Any) -> SequenceToSequence:
    """Load a sequence-to-sequence model that translates into English, to a GPU if there is one.

    Args:
        name_or_path: Folder or hub id.
        **options: Of :class:`SequenceToSequence`, such as ``max_new_tokens``.

    Raises:
        LayAlignError: There is none, or it is no such model.
    """
    config = load_config(name_or_path, _TRANSLATOR)
    model = load_model(AutoModelForSeq2SeqLM, name_or_path, _TRANSLATOR, config=config)
    return SequenceToSequence(_on_gpu(model), load_tokenizer(name_or_path), **options)


def check_translator(name_or_path: str, languages: Iterable[str]) -> None:
    """See without its weights that :func:`load_translator` will do for some languages.

    Args:
        name_or_path: Folder or hub id.
        languages: BCP-47 tags of what it is to translate.

    Raises:
        LayAlignError: There is none, it is no such model, or it does not know a language.
    """
    config = load_config(name_or_path, _TRANSLATOR)
    if type(config) not in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
        raise BackboneError(
            f"cannot load the {_TRANSLATOR} {name_or_path!r}: its family is {config.model_type}; "
            "expected a folder or hub id of an encoder-decoder model"
        )
    check_languages(load_tokenizer(name_or_path), languages)


def read_finetune(folder: Path) -> dict[str, Any]:
    """What a fine-tune has left in a language model's folder; nothing for other models.

    Raises:
        CheckpointError: It is damaged.
    """
    file = folder / FINETUNE_NAME
    if not file.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
        if not isinstance(found.get("prompt_template", ""), str):
            raise TypeError("prompt_template is no text")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{file} is damaged ({reason(error)}); copy the folder again"
        ) from error
    return found


def _dtype(checkpoint: Path) -> torch.dtype | None:
    """The type to load a checkpoint's backbones in; None for as stored."""
    recorded: Any = read_config(checkpoint).text_config.dtype
    return recorded if torch.cuda.is_available() else None


def _on_gpu(model: Model) -> Model:
    if torch.cuda.is_available():
        model.to("cuda")  # type: ignore[arg-type]
    return model
