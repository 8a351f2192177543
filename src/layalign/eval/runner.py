"""Run a system over examples and score what it writes; evaluate a saved checkpoint."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from importlib.metadata import version
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Protocol

from layalign.data import DataSource, Example, language_name, load_examples
from layalign.data.sources import NAMES
from layalign.errors import DataError
from layalign.eval.comparison import compare
from layalign.eval.metrics import Metric, check_metric, score
from layalign.eval.report import check_output, write_json
from layalign.eval.results import EvaluationResult, Prediction, summarise

if TYPE_CHECKING:
    from layalign.eval.systems import System


class Progress(Protocol):
    """Told how far an evaluation is, once before each language and after every batch."""

    def __call__(self, done: int, total: int, label: str) -> None:
        """Take note.

        Args:
            done: Items answered.
            total: Items to answer.
            label: What is being worked on, such as the language.
        """


def evaluate(
    system: System,
    examples: Sequence[Example],
    *,
    metric: Metric = "number",
    batch_size: int = 32,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Let a system answer examples and score the answers, one language after the other.

    Args:
        system: What to evaluate.
        examples: With gold answers; any order of languages.
        metric: ``"number"``, ``"choice"`` or ``"exact"``.
        batch_size: Examples answered at a time.
        progress: Told after every batch.

    Raises:
        DataError: No examples, an id twice in a language, or a gold answer that does not fit.
        ConfigError: Unknown metric, or a batch size below 1.
    """
    _check(examples, metric)
    tokens_before, done = system.new_tokens, 0
    rows_of: dict[str, list[int]] = {}
    for i, example in enumerate(examples):
        rows_of.setdefault(example.language, []).append(i)
    predictions: dict[int, Prediction] = {}
    languages = {}
    for tag, rows in rows_of.items():

        def advance(answered: int, label: str = language_name(tag)) -> None:
            nonlocal done
            done += answered
            if progress is not None:
                progress(done, len(examples), label)

        advance(0)
        start = time.perf_counter()
        chosen = [examples[i] for i in rows]
        outputs = system.answer(chosen, batch_size=batch_size, on_batch=advance)
        seconds = time.perf_counter() - start
        scored = [_predict(e, o, metric) for e, o in zip(chosen, outputs, strict=True)]
        predictions.update(zip(rows, scored, strict=True))
        languages[tag] = summarise(scored, seconds)
    return EvaluationResult(
        metric=metric,
        languages=languages,
        predictions=tuple(predictions[i] for i in range(len(examples))),
        new_tokens=system.new_tokens - tokens_before,
        seconds=sum(result.seconds for result in languages.values()),
    )


def _check(examples: Sequence[Example], metric: Metric) -> None:
    """Find what would spoil the scores before anything is generated."""
    check_metric(metric)
    if not examples:
        raise DataError("there are no examples to evaluate; check the data and its filters")
    counts = Counter((e.language, e.id) for e in examples if e.id is not None)
    (tag, id_), most = max(counts.items(), key=lambda item: item[1], default=(("", ""), 0))
    if most > 1:
        raise DataError(f"id {id_!r} occurs {most} times in language {tag!r}; ids must be unique")
    for example in examples:
        score("", example, metric)


def _predict(example: Example, output: str, metric: Metric) -> Prediction:
    scored = score(output, example, metric)
    return Prediction(
        id=example.id,
        language=example.language,
        text=example.text,
        answer=example.answer,
        output=output,
        parsed=scored.parsed,
        correct=scored.correct,
    )


def evaluate_checkpoint(
    checkpoint: str | PathLike[str],
    *,
    data: str | DataSource = "word_problems",
    split: str = "test",
    languages: Sequence[str] | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    metric: Metric = "number",
    max_new_tokens: int = 256,
    base: bool = True,
    base_prompt_template: str | None = None,
    trained: Collection[str] | None = None,
    output: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate a saved checkpoint and, on the same items, its bare language model.

    Args:
        checkpoint: Folder with model and processor.
        data: A named set, the path of a file, or a full :class:`DataSource`.
        split: Of a named set.
        languages: BCP-47 tags; all languages of the data by default.
        limit: At most so many items a language.
        batch_size: Items answered at a time.
        metric: ``"number"``, ``"choice"`` or ``"exact"``.
        max_new_tokens: Longest answer, tokens.
        base: Evaluate the bare language model too.
        base_prompt_template: Its prompt, with ``{question}``; the processor's by default, with
            the question on a line before it if it does not take the question itself.
        trained: Languages of the training data, if known; shown apart from the others.
        output: JSON file to write the results to, every output included.
        progress: Told after every batch.

    Returns:
        What :func:`compare` returns, and ``checkpoint``, ``data``, ``metric``, ``new_tokens``,
        ``seconds`` and ``versions``.

    Raises:
        LayAlignError: The checkpoint or the data cannot be used, or a setting is not valid.
    """
    from layalign.eval.systems import BARE, LAYALIGN, load_checkpoint, make_systems

    if output is not None:
        check_output(output)
    source = _source(data, split, languages, limit)
    examples = load_examples(source)
    _check(examples, metric)  # before the models are loaded, which takes long
    systems = make_systems(
        *load_checkpoint(checkpoint),
        bare=base,
        bare_prompt_template=base_prompt_template,
        max_new_tokens=max_new_tokens,
    )
    results: dict[str, EvaluationResult] = {}
    for name, system in systems.items():
        results[name] = evaluate(
            system,
            examples,
            metric=metric,
            batch_size=batch_size,
            progress=_part(progress, name, len(results), len(systems)),
        )
    summary = {
        "checkpoint": fspath(checkpoint),
        "data": source.label,
        "split": source.split,
        "metric": metric,
        **compare(results[LAYALIGN], results.get(BARE), trained=trained),
        "new_tokens": {name: result.new_tokens for name, result in results.items()},
        "seconds": {name: result.seconds for name, result in results.items()},
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }
    if output is not None:
        predictions = {name: r.to_dict(predictions=True) for name, r in results.items()}
        outputs = {name: values["predictions"] for name, values in predictions.items()}
        write_json(output, {**summary, "predictions": outputs})
    return summary


def _source(
    data: str | DataSource, split: str, languages: Sequence[str] | None, limit: int | None
) -> DataSource:
    if isinstance(data, DataSource):
        return data
    tags = None if languages is None else tuple(languages)
    if data in NAMES:
        return DataSource(name=data, split=split, languages=tags, limit=limit)
    return DataSource(path=data, languages=tags, limit=limit)


def _part(progress: Progress | None, name: str, part: int, parts: int) -> Progress | None:
    """Make one progress out of several evaluations of the same length."""
    if progress is None:
        return None

    def report(done: int, total: int, label: str) -> None:
        progress(part * total + done, parts * total, f"{name}: {label}")

    return report
