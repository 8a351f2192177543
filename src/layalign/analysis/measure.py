"""One call that measures a checkpoint: similarity, retrieval, layers, fusion and mixing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike, fspath
from typing import Any

import numpy as np
import numpy.typing as npt

from layalign.analysis.sentences import Bitext, load_bitexts, sentence_source
from layalign.analysis.similarity import (
    cosines,
    pair_similarity,
    principal_components,
    retrieval_accuracy,
)
from layalign.analysis.states import Reading, read_bare, read_layalign, token_states
from layalign.analysis.weights import Weights, read_weights
from layalign.data import DataSource
from layalign.errors import ConfigError
from layalign.eval.loading import load_systems
from layalign.eval.provenance import find_model, is_language_model
from layalign.eval.runner import Progress
from layalign.eval.systems import BARE, LAYALIGN, BareLLM, LayAlignSystem
from layalign.model.checkpoint import read_config

Array = npt.NDArray[np.float32]

MAX_TOKENS = 24
"""Longest sentence, encoder tokens, that the token-by-token similarity prefers."""

_DIGITS = 6


@dataclass
class _Sentences:
    """The sentences, English ones once each, and a count of those that are read."""

    bitexts: list[Bitext]
    batch_size: int
    report: Progress | None
    passes: int
    english: list[str] = field(init=False)
    done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.english = list(dict.fromkeys(text for b in self.bitexts for text in b.english))
        self._row = {text: row for row, text in enumerate(self.english)}

    def rows(self, bitext: Bitext) -> list[int]:
        """The English rows of a language's sentences."""
        return [self._row[text] for text in bitext.english]

    def groups(self) -> list[tuple[str, list[str]]]:
        return [("en", self.english), *((b.language, b.texts) for b in self.bitexts)]

    def options(self, label: str) -> dict[str, Any]:
        """How a group is read: batch size, and what counts for the progress."""
        total = self.passes * sum(len(texts) for _, texts in self.groups())

        def note(found: Mapping[int, Any]) -> None:
            self.done += len(found)
            if self.report is not None:
                self.report(self.done, total, label)

        return {"batch_size": self.batch_size, "on_batch": note}


def analyze(
    checkpoint: str | PathLike[str],
    *,
    source: DataSource | None = None,
    compare: Sequence[str | PathLike[str]] = (),
    batch_size: int = 8,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure what a checkpoint does to sentences and their English translations.

    Source: the analyses of LayAlign (Ruan et al., Findings of NAACL 2025); where the paper is
    silent, ``docs/analysis.md`` says what is done. Retrieval is not among them.

    Args:
        checkpoint: Folder, hub id or name of a shipped checkpoint.
        source: Where the sentences are, see :func:`sentence_source`; by default 100 of the shipped
            word problems in each language.
        compare: Further checkpoints or plain language models whose last layer is compared.
        batch_size: Sentences at a time; halved when memory does not suffice.
        progress: Told how many sentences are read.

    Returns:
        Plain values: ``checkpoint``, ``source``, ``sentences`` (number, by language) and one entry
        for each figure, see ``docs/analysis.md``. ``fusion_norms`` and ``mixing`` are None for a
        checkpoint without an aligner.

    Raises:
        LayAlignError: The checkpoint, one to compare with or the sentences cannot be used.
    """
    weights = read_weights(checkpoint)
    labels = _labels(compare)
    _check_models([checkpoint, *compare])
    source = source or sentence_source(limit=100)
    bitexts = load_bitexts(source)
    sentences = _Sentences(bitexts, batch_size, progress, passes=2 + len(compare))
    systems = load_systems(checkpoint)
    system, bare = systems[LAYALIGN], systems[BARE]
    assert isinstance(system, LayAlignSystem)
    assert isinstance(bare, BareLLM)
    readings = _read_layalign(system, sentences, LAYALIGN)
    states = {
        LAYALIGN: {tag: reading.language_model for tag, reading in readings.items()},
        BARE: _read_bare(bare, sentences, BARE),
    }
    tokens = _tokens(system, bitexts[0])
    del systems, system, bare  # makes room for those to compare with
    last = {name: {tag: s[:, -1] for tag, s in found.items()} for name, found in states.items()}
    for label, place in zip(labels, compare, strict=True):
        last[label] = _last_layer(place, sentences, label)
    encoder = {tag: reading.encoder for tag, reading in readings.items()}
    found = {
        "checkpoint": fspath(checkpoint),
        "source": source.label,
        "sentences": {bitext.language: len(bitext.texts) for bitext in bitexts},
        "similarity": _similarity(last, sentences),
        "projection": {name: _projection(last[name]) for name in (LAYALIGN, BARE)},
        "encoder_layers": _encoder_layers(readings),
        "tokens": tokens,
        "fusion_norms": _fusion_norms(readings, weights),
        "mixing": asdict(weights) if weights.language_layers else None,
        "retrieval": {
            name: _retrieval(groups, sentences)
            for name, groups in {"encoder": encoder, **states}.items()
        },
    }
    plain: dict[str, Any] = _plain(found)
    return plain


def _check_models(places: Sequence[str | PathLike[str]]) -> None:
    """See, before minutes of work, that every model is there and can be analysed.

    Raises:
        LayAlignError: One is not, or hands its language model no soft tokens.
    """
    for place in places:
        folder = find_model(place)
        if is_language_model(folder):
            continue
        if read_config(folder).adapter == "none":
            raise ConfigError(
                f"{fspath(place)} has no adapter, so its language model reads no soft tokens, and "
                "their states are what is analysed; choose a checkpoint with an adapter"
            )


def _labels(compare: Sequence[str | PathLike[str]]) -> list[str]:
    labels = [fspath(place) for place in compare]
    if len({LAYALIGN, BARE, *labels}) < 2 + len(labels):
        raise ConfigError(
            f"cannot compare with {', '.join(labels)}: a name occurs twice, or is that of what is "
            "measured anyway; name each checkpoint once"
        )
    return labels


def _read_layalign(system: LayAlignSystem, sentences: _Sentences, label: str) -> dict[str, Reading]:
    options = sentences.options(label)
    return {tag: read_layalign(system, texts, tag, **options) for tag, texts in sentences.groups()}


def _read_bare(system: BareLLM, sentences: _Sentences, label: str) -> dict[str, Array]:
    options = sentences.options(label)
    return {tag: read_bare(system, texts, **options) for tag, texts in sentences.groups()}


def _last_layer(place: str | PathLike[str], sentences: _Sentences, label: str) -> dict[str, Array]:
    """Representations of another checkpoint or a plain language model."""
    (system,) = load_systems(place, bare=False).values()
    if isinstance(system, LayAlignSystem):
        readings = _read_layalign(system, sentences, label)
        return {tag: reading.language_model[:, -1] for tag, reading in readings.items()}
    assert isinstance(system, BareLLM)
    return {tag: s[:, -1] for tag, s in _read_bare(system, sentences, label).items()}


def _similarity(last: Mapping[str, Mapping[str, Array]], sentences: _Sentences) -> dict[str, Any]:
    return {
        name: {
            b.language: pair_similarity(states[b.language], states["en"][sentences.rows(b)])
            for b in sentences.bitexts
        }
        for name, states in last.items()
    }


def _projection(states: Mapping[str, Array]) -> dict[str, Any]:
    coordinates, shares = principal_components(np.concatenate(list(states.values())))
    ends = np.cumsum([len(rows) for rows in states.values()])[:-1]
    points = dict(zip(states, np.split(coordinates, ends), strict=True))
    return {"explained": shares, "points": points}


def _encoder_layers(readings: Mapping[str, Reading]) -> dict[str, Any]:
    return {
        "embedding": {tag: reading.to_embedding.mean(0) for tag, reading in readings.items()},
        "last": {tag: reading.to_last.mean(0) for tag, reading in readings.items()},
    }


def _fusion_norms(readings: Mapping[str, Reading], weights: Weights) -> dict[str, Any] | None:
    if not weights.language_layers:
        return None
    ratios = {tag: reading.norm_ratios.mean(0) for tag, reading in readings.items()}
    return {"language_layers": weights.language_layers, "ratios": ratios}


def _retrieval(states: Mapping[str, Array], sentences: _Sentences) -> dict[str, list[float]]:
    """Accuracy of every layer, by language."""
    found = {}
    for bitext in sentences.bitexts:
        own, english = states[bitext.language], states["en"][sentences.rows(bitext)]
        layers = range(own.shape[1])
        found[bitext.language] = [retrieval_accuracy(own[:, i], english[:, i]) for i in layers]
    return found


def _tokens(system: LayAlignSystem, bitext: Bitext) -> dict[str, Any]:
    """Token by token: one pair at the first, a middle and the last layer of the encoder."""
    text, english = _short_pair(system, bitext)
    tokens, states = token_states(system, text, bitext.language)
    english_tokens, english_states = token_states(system, english, "en")
    n_layers = len(states) - 1
    layers = sorted({1, (n_layers + 1) // 2, n_layers})
    return {
        "language": bitext.language,
        "text": text,
        "english": english,
        "tokens": tokens,
        "english_tokens": english_tokens,
        "layers": {str(i): cosines(states[i], english_states[i]) for i in layers},
    }


def _short_pair(system: LayAlignSystem, bitext: Bitext) -> tuple[str, str]:
    """The first pair that can be shown token by token, or else the shortest one."""

    def length(text: str, language: str) -> int:
        feature = system.processor.encode(text, language=language, prompt_template="")
        return len(feature["encoder_input_ids"])

    pairs = list(zip(bitext.texts, bitext.english, strict=True))
    lengths = [max(length(text, bitext.language), length(en, "en")) for text, en in pairs]
    short = [i for i, n in enumerate(lengths) if n <= MAX_TOKENS]
    return pairs[short[0] if short else int(np.argmin(lengths))]


def _plain(value: Any) -> Any:
    """Turn arrays into lists and what is no number into None."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
