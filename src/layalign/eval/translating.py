"""Answering by way of an English translation of the question."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from layalign import processes
from layalign.chat_format import QUESTION
from layalign.data import Example
from layalign.data.language_codes import TABLES, language_codes
from layalign.durable import drop_unless_sealed, seal
from layalign.errors import DataError
from layalign.eval.comparison import ENGLISH
from layalign.eval.prompts import Prompt
from layalign.eval.report import write_json
from layalign.eval.results import Answer
from layalign.eval.systems import BatchedSystem, Feature, OnBatch, System
from layalign.padding import pad_id, pad_rows

_SOURCE_MAX_LENGTH = 512
# Translated before they are answered: few enough that a killed evaluation has lost little, enough
# that examples of similar length find each other.
_BATCHES = 4


def translated(
    examples: Sequence[Example],
    translator: System,
    *,
    keep_original: bool,
    batch_size: int = 32,
    on_batch: OnBatch | None = None,
) -> list[Example]:
    """Put an English translation in the place of every text; English stays as it is.

    Args:
        examples: In any languages.
        translator: Its answers are the translations; an empty one leaves the text as it was.
        keep_original: Put the text itself on the line before its translation.
        batch_size: Examples translated at a time.
        on_batch: Told the translations of every batch.
    """
    foreign = [i for i, example in enumerate(examples) if example.language != ENGLISH]
    answers = translator.answer(
        [examples[i] for i in foreign], batch_size=batch_size, on_batch=on_batch
    )
    changed = list(examples)
    for i, answer in zip(foreign, answers, strict=True):
        if english := _one_line(answer.text):
            text = f"{examples[i].text}\n{english}" if keep_original else english
            changed[i] = replace(examples[i], text=text)
    return changed


def translated_once(
    examples: Sequence[Example],
    translator: System,
    file: Path,
    *,
    batch_size: int,
    on_batch: OnBatch | None = None,
) -> tuple[list[Example], float]:
    """Put an English translation under every text, and remember it in a file.

    What the file has of other texts is made anew.

    Args:
        examples: See :func:`translated`.
        translator: Not asked if the file is there and whole.
        file: JSON, made once all are translated.
        batch_size: Examples translated at a time.
        on_batch: See :func:`translated`.

    Returns:
        The examples, and how many seconds their translation took when it was made.
    """
    asked = [example.text for example in examples]
    made: dict[str, Any] = processes.by_main(partial(_remembered, file))
    if made.get("asked") != asked:
        start = time.perf_counter()
        changed = translated(
            examples, translator, keep_original=True, batch_size=batch_size, on_batch=on_batch
        )
        seconds = time.perf_counter() - start
        made = {"asked": asked, "texts": [one.text for one in changed], "seconds": seconds}
        processes.by_main(partial(_remember, file, made))
    pairs = zip(examples, made["texts"], strict=True)
    return [replace(example, text=text) for example, text in pairs], made["seconds"]


def _remembered(file: Path) -> dict[str, Any]:
    drop_unless_sealed(file)
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return found


def _remember(file: Path, made: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, made)
    seal(file)


def _one_line(text: str) -> str:
    """Without control characters, which an example cannot hold, and extra white space."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@dataclass
class TranslatingSystem:
    """A language model that reads questions in English translation.

    Its answers count the language model's tokens alone, but the time of both models.
    """

    translator: System
    """Whose answers are the translations."""

    answerer: System
    """What answers them."""

    keep_original: bool = False
    """See :func:`translated`."""

    def answer(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int = 32,
        on_batch: OnBatch | None = None,
    ) -> list[Answer]:
        """Translate and answer a few batches at a time; see :class:`System`."""
        answers: list[Answer] = []
        size = _BATCHES * max(batch_size, 1)
        for start in range(0, len(examples), size):
            english = translated(
                examples[start : start + size],
                self.translator,
                keep_original=self.keep_original,
                batch_size=batch_size,
            )
            answers += self.answerer.answer(
                english, batch_size=batch_size, on_batch=on_batch and _moved(on_batch, start)
            )
        return answers


def _moved(on_batch: OnBatch, start: int) -> OnBatch:
    """Tell of answers by their place among all examples."""
    return lambda found: on_batch({start + place: answer for place, answer in found.items()})


@dataclass
class SequenceToSequence(BatchedSystem):
    """An encoder-decoder model, of any family of transformers, that writes English.

    One whose tokenizer has a code for each language (NLLB, mBART-50, M2M-100) is told the
    language of the text and to begin with that of English.
    """

    prompt_template: str = field(default=QUESTION, kw_only=True)
    """What the model reads."""

    codes: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Find out which language codes the tokenizer has."""
        self.codes = _known_codes(self.tokenizer)
        if self.codes:
            self.generation = {
                "forced_bos_token_id": _code_id(self.tokenizer, self.codes[ENGLISH]),
                **self.generation,
            }

    def _prompt(self, example: Example) -> Prompt:
        return Prompt(text=example.text, question=example.text, template=self.prompt_template)

    def _feature(self, prompt: Prompt, language: str) -> Feature:
        if self.codes:
            self.tokenizer.src_lang = _code(self.codes, language)
        text = prompt.template.replace(QUESTION, prompt.question, 1)
        ids = self.tokenizer(text, truncation=True, max_length=_SOURCE_MAX_LENGTH)["input_ids"]
        return {"input_ids": ids}

    def _generate(self, features: list[Feature], arguments: dict[str, Any]) -> Tensor:
        rows = [feature["input_ids"] for feature in features]
        ids, mask = pad_rows(rows, pad_id(self.tokenizer), left=False)
        device = self.model.device
        full: Tensor = self.model.generate(  # type: ignore[operator]
            input_ids=ids.to(device), attention_mask=mask.to(device), **arguments
        )
        return full[:, 1:]  # the first token is the decoder's start


def check_languages(tokenizer: Any, languages: Iterable[str]) -> None:
    """See that a translator can be told every language, if it is told any.

    Args:
        tokenizer: The translator's.
        languages: BCP-47 tags.

    Raises:
        DataError: Its tokenizer has no code for one.
    """
    if codes := _known_codes(tokenizer):
        for language in languages:
            _code(codes, language)


def _code(codes: Mapping[str, str], language: str) -> str:
    if language not in codes:
        raise DataError(
            f"the translator has no code for language {language!r}; leave out its examples, or "
            "choose another evaluation.translator"
        )
    return codes[language]


def _known_codes(tokenizer: Any) -> dict[str, str]:
    """The table of codes that a tokenizer has; none for one that is not told languages."""
    if hasattr(tokenizer, "src_lang"):
        for table in TABLES:
            codes = language_codes(table)
            if _code_id(tokenizer, codes[ENGLISH]) is not None:
                return codes
    return {}


def _code_id(tokenizer: Any, code: str) -> int | None:
    """The token of a language: its code, or for M2M-100 the code between underscores."""
    for token in (f"__{code}__", code) if "_" not in code else (code,):
        found = tokenizer.convert_tokens_to_ids(token)
        if found not in (None, tokenizer.unk_token_id):
            return int(found)
    return None
