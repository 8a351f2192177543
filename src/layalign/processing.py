"""LayAlignProcessor: text into both models' inputs. All tokenising and padding is here."""

from __future__ import annotations

import inspect
import json
import os
import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from transformers import AutoProcessor, BatchEncoding, PreTrainedTokenizerBase

from layalign.chat_format import QUESTION
from layalign.data.language_codes import language_codes as code_table
from layalign.data.language_codes import source_code
from layalign.errors import CheckpointError, ConfigError, DataError, reason
from layalign.fields import convert
from layalign.model.checkpoint import find_folder
from layalign.model.config import LayAlignConfig
from layalign.model.sequence import IGNORE_INDEX
from layalign.model.switches import check_ratio, check_width
from layalign.model.tokenizers import (
    ENCODER_TOKENIZER_FOLDER,
    TOKENIZER_FOLDER,
    checkpoint_tokenizers,
    load_tokenizer,
)
from layalign.padding import pad_id, pad_rows

CONFIG_NAME = "processor_config.json"
LENGTHS = ("encoder_max_length", "prompt_max_length", "target_max_length")
_OF_LOADING = ("code_revision", "dtype", "local_files_only", "token", "trust_remote_code")
_DIGIT = re.compile(r"\d")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)(?=\d)")

Feature = dict[str, list[int]]


class LayAlignProcessor:
    """Two tokenizers, the prompt and every length limit of a :class:`LayAlignModel`.

    The model itself puts BOS, soft tokens and boundary in front; what is built here is the
    encoder's input and the language model's text, without BOS:
    ``prompt`` and, in training, ``target`` with one closing EOS.

    Args:
        encoder_tokenizer: Tokenizer of the multilingual encoder.
        tokenizer: Tokenizer of the language model.
        prompt_template: The language model's text, with ``{question}`` where the question goes.
            Without ``{question}`` it is only an answer cue and the question reaches the language
            model through the encoder alone; ``""`` is no text at all. See
            :func:`layalign.chat_format.chat_prompt_template` for a model's own chat format.
        encoder_max_length: Longest encoder input, tokens.
        prompt_max_length: Longest prompt, tokens. A longer one loses the end of its question,
            never what follows ``{question}``.
        target_max_length: Longest target with its EOS, tokens. A longer one loses its end, EOS
            included.
        split_digits: Write every number of the encoder's text as single digits 0–9 with spaces
            between, whatever digit system it came in: the form in which most language models
            read numbers. The published code does not.
        question_max_ratio: Leave the question out of the language model's text when it takes more
            than this many tokens there for each encoder token: a script that the language model has
            no word pieces for, which costs much and tells it little. None to leave it in always,
            as the published code does.
        language_codes: For encoder tokenizers that want the source language (NLLB, mBART):
            BCP-47 tag to the tokenizer's own code, e.g. ``{"sw": "swh_Latn"}``, or the name of a
            table of them, see :func:`layalign.data.language_codes`.
    """

    def __init__(
        self,
        encoder_tokenizer: PreTrainedTokenizerBase,
        tokenizer: PreTrainedTokenizerBase,
        *,
        prompt_template: str = QUESTION + "\n",
        encoder_max_length: int = 512,
        prompt_max_length: int = 512,
        target_max_length: int = 512,
        split_digits: bool = False,
        question_max_ratio: float | None = None,
        language_codes: Mapping[str, str] | str | None = None,
    ) -> None:
        """Check the settings."""
        self.encoder_tokenizer = encoder_tokenizer
        self.tokenizer = tokenizer
        self.prompt_template = prompt_template
        self.encoder_max_length = encoder_max_length
        self.prompt_max_length = prompt_max_length
        self.target_max_length = target_max_length
        self.split_digits = split_digits
        self.question_max_ratio = question_max_ratio
        self.language_codes = code_table(language_codes or {})
        self._truncations: Counter[str] = Counter()
        self._check_settings()
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                "the language model's tokenizer has no EOS token, so targets could not end; set "
                "tokenizer.eos_token"
            )

    def __repr__(self) -> str:
        """A few lines: both tokenizers, and the settings that are not the defaults."""
        defaults = inspect.signature(type(self)).parameters
        shown = {
            name: f"{getattr(self, name).name_or_path or '?'} ({len(getattr(self, name)):,} tokens)"
            for name in ("encoder_tokenizer", "tokenizer")
        }
        for name, value in self.settings().items():
            if name == "prompt_template" or (value or None) != (defaults[name].default or None):
                shown[name] = textwrap.shorten(repr(value), 80, placeholder=" …")
        lines = "".join(f"  {name}: {text}\n" for name, text in shown.items())
        return f"{type(self).__name__}(\n{lines})"

    def _check_settings(self) -> None:
        hints = get_type_hints(LayAlignProcessor.__init__)
        for name, value in self.settings().items():
            setattr(self, name, convert(value, hints[name], name))
        for name in LENGTHS:
            check_width(name, getattr(self, name))
        check_ratio("question_max_ratio", self.question_max_ratio)

    @property
    def truncations(self) -> dict[str, int]:
        """Inputs cut so far: ``encoder``, ``prompt``, ``target``; left out: ``question``."""
        return dict(self._truncations)

    def count_truncations(self, names: Iterable[str]) -> None:
        """Count inputs as cut that were cut earlier, by another processor."""
        self._truncations.update(names)

    def encode(
        self,
        text: str,
        *,
        language: str | None = None,
        question: str | None = None,
        target: str | None = None,
        prompt_template: str | None = None,
    ) -> Feature:
        """Tokenise one example.

        Args:
            text: What the encoder reads.
            language: BCP-47 tag; needed with ``language_codes``, else not used.
            question: What goes into the template's ``{question}``; default ``text``.
            target: English text to produce; None when generating.
            prompt_template: In place of the processor's own.

        Returns:
            ``encoder_input_ids``, ``input_ids`` (prompt and target) and ``labels``, lists of ids;
            the last two are empty when there is no LLM text.

        Raises:
            DataError: A text is empty or not a string, or its language is not known.
        """
        _check_text("text", text)
        template = self.prompt_template if prompt_template is None else prompt_template
        source = self._encode_source(text, language)
        prompt = self._encode_prompt(template, text if question is None else question, len(source))
        answer = [] if target is None else self._encode_target(target)
        return {
            "encoder_input_ids": source,
            "input_ids": prompt + answer,
            "labels": [IGNORE_INDEX] * len(prompt) + answer,
        }

    def encoder_text(self, text: str) -> str:
        """What the encoder's tokenizer is given for ``text``."""
        if not self.split_digits:
            return text
        ascii_digits = _DIGIT.sub(lambda match: str(unicodedata.digit(match[0])), text)
        return _BETWEEN_DIGITS.sub(" ", ascii_digits)

    def _encode_source(self, text: str, language: str | None) -> list[int]:
        text = self.encoder_text(text)
        if self.language_codes:
            # Of every text: the tokenizer would go on with the language of the one before.
            self.encoder_tokenizer.src_lang = source_code(self.language_codes, language)
        ids = self.encoder_tokenizer(text, verbose=False)["input_ids"]
        if len(ids) > self.encoder_max_length:
            self._truncations["encoder"] += 1
            ids = self.encoder_tokenizer(text, truncation=True, max_length=self.encoder_max_length)[
                "input_ids"
            ]
        return list(ids)

    def _encode_prompt(self, template: str, question: str, n_encoder: int) -> list[int]:
        if not template:
            return []
        head, cue, tail = template.partition(QUESTION)
        if not cue:
            return self._tokens(template)
        _check_text("question", question)
        ratio = self.question_max_ratio
        if ratio is not None and len(self._tokens(question)) > ratio * n_encoder:
            self._truncations["question"] += 1
            return self._tokens(head + tail)
        ids = self._tokens(head + question + tail)
        if len(ids) <= self.prompt_max_length:
            return ids
        self._truncations["prompt"] += 1
        before, after = self._tokens(head), self._tokens(tail)
        room = self.prompt_max_length - len(before) - len(after)
        if room < 1:
            raise ConfigError(
                f"prompt_max_length is {self.prompt_max_length}, but the template alone takes "
                f"{len(before) + len(after)} tokens; raise prompt_max_length"
            )
        return before + self._tokens(question)[:room] + after

    def _encode_target(self, target: str) -> list[int]:
        _check_text("target", target)
        ids = [*self._tokens(target), int(self.tokenizer.eos_token_id)]
        if len(ids) > self.target_max_length:
            self._truncations["target"] += 1
        return ids[: self.target_max_length]

    def _tokens(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def pad(
        self, features: Sequence[Mapping[str, Sequence[int]]], *, padding_side: str = "left"
    ) -> BatchEncoding:
        """Make tensors of tokenised examples.

        Args:
            features: From :meth:`encode`.
            padding_side: Where the LLM text is padded; the model's results do not depend on it.

        Returns:
            ``encoder_input_ids``, ``encoder_attention_mask`` ``(batch, enc_len)`` and, when there
            is LLM text, ``input_ids``, ``attention_mask`` and, when there are targets,
            ``labels``, ``(batch, text_len)``.
        """
        sources = [f["encoder_input_ids"] for f in features]
        ids, mask = pad_rows(sources, pad_id(self.encoder_tokenizer))
        batch = {"encoder_input_ids": ids, "encoder_attention_mask": mask}
        if any(f["input_ids"] for f in features):
            left = padding_side == "left"
            texts = [f["input_ids"] for f in features]
            ids, mask = pad_rows(texts, pad_id(self.tokenizer), left=left)
            batch |= {"input_ids": ids, "attention_mask": mask}
            labels, _ = pad_rows([f["labels"] for f in features], IGNORE_INDEX, left=left)
            if (labels != IGNORE_INDEX).any():
                batch["labels"] = labels
        return BatchEncoding(batch)

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        language: str | Sequence[str] | None = None,
        question: str | Sequence[str] | None = None,
        target: str | Sequence[str] | None = None,
        prompt_template: str | None = None,
        padding_side: str = "left",
    ) -> BatchEncoding:
        """Tokenise and pad one text or many; see :meth:`encode` and :meth:`pad`.

        Raises:
            DataError: Two of the lists differ in length, or a text is empty.
        """
        texts = [text] if isinstance(text, str) or not isinstance(text, Iterable) else list(text)
        if not texts:
            raise DataError("no text given; expected at least one")
        given = {"language": language, "question": question, "target": target}
        columns = {name: _column(name, value, len(texts)) for name, value in given.items()}
        features = [
            self.encode(
                one,
                prompt_template=prompt_template,
                **{name: column[i] for name, column in columns.items()},
            )
            for i, one in enumerate(texts)
        ]
        return self.pad(features, padding_side=padding_side)

    def decode(self, ids: Any, *, skip_special_tokens: bool = True) -> str:
        """Turn the language model's ids into text."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    def batch_decode(self, ids: Any, *, skip_special_tokens: bool = True) -> list[str]:
        """Turn rows of the language model's ids into texts."""
        return list(self.tokenizer.batch_decode(ids, skip_special_tokens=skip_special_tokens))

    def check_model(self, config: LayAlignConfig) -> None:
        """Refuse tokenizers whose ids the model's embeddings do not have.

        Raises:
            ConfigError: A tokenizer belongs to another model.
        """
        for role, tokenizer, size in (
            ("encoder", self.encoder_tokenizer, config.encoder_config.vocab_size),
            ("language model", self.tokenizer, config.text_config.vocab_size),
        ):
            largest = max(tokenizer.get_vocab().values())
            if largest >= size:
                raise ConfigError(
                    f"the {role}'s tokenizer ({tokenizer.name_or_path!r}) has ids up to {largest}, "
                    f"but the {role} has only {size} embeddings; use the model's own tokenizer"
                )

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write both tokenizers into subfolders and the settings beside them."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        self.encoder_tokenizer.save_pretrained(target / ENCODER_TOKENIZER_FOLDER)
        self.tokenizer.save_pretrained(target / TOKENIZER_FOLDER)
        text = json.dumps(self.settings(), indent=2, ensure_ascii=False, sort_keys=True)
        (target / CONFIG_NAME).write_text(text + "\n", encoding="utf-8")

    def settings(self) -> dict[str, Any]:
        """Everything but the tokenizers, as plain values."""
        signature = inspect.signature(LayAlignProcessor)
        own = (p.name for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY)
        return {name: getattr(self, name) for name in own}

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike[str], *, revision: str | None = None, **overrides: Any
    ) -> LayAlignProcessor:
        """Load the processor of a checkpoint.

        Tokenizers that the checkpoint does not hold are those of its backbones.

        Args:
            name_or_path: Folder, hub id or name of a shipped checkpoint.
            revision: Hub revision.
            **overrides: Other settings than the stored ones; loading options of transformers are
                ignored.

        Raises:
            CheckpointError: There is no processor in that place.
        """
        folder = find_folder(name_or_path, revision, files=(CONFIG_NAME,))
        overrides = {
            key: value
            for key, value in overrides.items()
            if not (key in _OF_LOADING or key.startswith("_"))  # AutoProcessor's notes to itself
        }
        try:
            settings = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
            return cls(*checkpoint_tokenizers(folder), **{**settings, **overrides})
        except ConfigError as error:
            raise ConfigError(f"the processor in {folder}: {error}") from error
        except Exception as error:  # of tokenizers, sentencepiece or whatever reads the files
            raise CheckpointError(
                f"the processor in {folder} is damaged: {reason(error)}; copy the folder again"
            ) from error

    @classmethod
    def from_backbones(
        cls,
        encoder: str,
        language_model: str,
        *,
        encoder_revision: str | None = None,
        language_model_revision: str | None = None,
        **settings: Any,
    ) -> LayAlignProcessor:
        """Load the tokenizers of two backbones.

        Args:
            encoder: Folder, hub id or name of an embedded model.
            language_model: The same of the language model, or of a LoRA on one.
            encoder_revision: Hub revision of the encoder.
            language_model_revision: Hub revision of the language model.
            **settings: See the class.

        Raises:
            ConfigError: A tokenizer cannot be loaded.
        """
        places = (encoder, encoder_revision), (language_model, language_model_revision)
        return cls(*(load_tokenizer(*place) for place in places), **settings)


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise DataError(f"{name} is {type(text).__name__} ({text!r}); expected a string")
    if not text.strip():
        raise DataError(f"{name} is empty; expected at least one character")


def _column(name: str, value: str | Sequence[str] | None, length: int) -> Sequence[Any]:
    if value is None or isinstance(value, str):
        return [value] * length
    if len(value) != length:
        raise DataError(f"{name} has {len(value)} entries for {length} texts; expected as many")
    return value


AutoProcessor.register(LayAlignConfig, LayAlignProcessor, exist_ok=True)
