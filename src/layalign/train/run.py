"""Run a recipe: load, train the stages, save, evaluate."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

from layalign import processes
from layalign.data import Example
from layalign.durable import damage
from layalign.errors import CheckpointError
from layalign.eval.journal import slug
from layalign.eval.loading import check_translator, read_finetune
from layalign.eval.prompts import with_question
from layalign.eval.provenance import versions
from layalign.eval.report import write_json
from layalign.eval.run_folder import PREDICTIONS_FOLDER, SUMMARY_NAME
from layalign.memory import peak_memory_gib
from layalign.model import LayAlignModel
from layalign.model.backbones import load_language_model
from layalign.model.checkpoint import (
    LANGUAGE_MODEL_FOLDER,
    TRANSLATOR_FOLDER,
    load_trained,
    read_weights,
)
from layalign.processes import by_main
from layalign.processing import LayAlignProcessor
from layalign.train.answering import Answering
from layalign.train.arithmetic import settle_arithmetic, settled_arithmetic
from layalign.train.building import build_composite, start_lexically
from layalign.train.checkpoints import checkpoint_path, checkpoints
from layalign.train.examples import RunExamples
from layalign.train.finetune import finetune_language_model
from layalign.train.folder import (
    check_folder,
    claim_folder,
    completed_by_main,
    explained_disk,
    sole_process,
)
from layalign.train.measure import measure, own_system
from layalign.train.methods import plan_method
from layalign.train.optimisation import check_reporters
from layalign.train.plan import make_plan, outline_trained
from layalign.train.progress import RunProgress
from layalign.train.randomness import preserved_random_state
from layalign.train.recipe import Recipe
from layalign.train.sharding import is_sharded
from layalign.train.status import StatusFile
from layalign.train.stopping import StopRequest
from layalign.train.summary import RunSummary
from layalign.train.trainer import (
    processor_for,
    text_processor,
    train_stage,
    with_lengths,
)
from layalign.train.translations import with_translations

# Removed in the end; nobody's own folder has these names.
EXAMPLES_FOLDER = ".examples"
UNDER_WAY = "-under-way"  # checkpoints of a stage of the language model
LEXICAL_NAME = "lexical.json"


def run_recipe(
    recipe: Recipe,
    *,
    resume: bool = False,
    dry_run: bool = False,
    progress: RunProgress | None = None,
    stop: StopRequest | None = None,
    report_to: Sequence[str] = (),
) -> RunSummary:
    """Train and evaluate what a recipe describes, on a GPU if there is one.

    ``output_dir`` becomes a checkpoint with processor and recipe, which
    ``LayAlignModel.from_pretrained`` and the command line take. The stages' own checkpoints stand
    in subfolders, and until the run is complete so do examples that are too many for memory. Of a
    method that trains the language model alone, the result is in the subfolder ``language_model``,
    an ordinary folder of transformers.

    Args:
        recipe: From :func:`load_recipe`.
        resume: Go on with an interrupted run of the same recipe, in the stage where it stopped;
            start it if there is none. A finished run is left as it is.
        dry_run: Only say what would be done; see :func:`make_plan`. Nothing is left behind.
        progress: Told how far each phase is.
        stop: See :func:`layalign.train.stopping.stop_on_signals`.
        report_to: Where the figures of the stages go beside TensorBoard: ``wandb``, ``trackio``,
            ``mlflow``.

    Raises:
        LayAlignError: Data, backbones or ``output_dir`` cannot be used, or training fails.
        StopError: ``stop`` was asked for. What was done is saved.
    """
    check_reporters(report_to)
    run = _Run(recipe, resume=resume, progress=progress, stop=stop, report_to=report_to)
    if dry_run:
        return run.plan()
    by_main(partial(check_folder, run.folder, recipe, resume=resume))
    finished = run.folder / SUMMARY_NAME
    if resume and by_main(finished.exists):
        return RunSummary.load(finished)
    with explained_disk(run.folder):
        with run.phase("data"), run.examples.loaded():
            run.check()
        by_main(run.claim)
        with sole_process(run.folder), run.status.kept(), preserved_random_state():
            last = run.method.after_translation
            run.tune([name for name in run.method.language_model if name not in last])
            if run.composite:
                run.join()
            run.tune(last)
            evaluation = run.evaluate()
            run.examples.discard()
            return run.summary(evaluation)


class _Run:
    """One run's parts, made one after the other."""

    model: LayAlignModel
    processor: LayAlignProcessor

    def __init__(
        self,
        recipe: Recipe,
        *,
        resume: bool,
        progress: RunProgress | None,
        stop: StopRequest | None,
        report_to: Sequence[str],
    ) -> None:
        self.method = plan_method(recipe)
        self.given, self.recipe = recipe, self.method.recipe
        self.resume = resume
        self.folder = Path(self.recipe.output_dir)
        self.status = StatusFile(self.folder, progress)
        self.stop, self.report_to = stop, report_to
        self.stages: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        self.configs = self.method.configs
        self.composite = list(self.method.composite)
        self.language_model = self.recipe.model.language_model
        self.examples = RunExamples(
            self.recipe.data, self.configs, self.folder / EXAMPLES_FOLDER, progress
        )
        self.system: str | None = None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype: str = self.recipe.dtype
        self.attention = self.recipe.model.attn_implementation
        if self.dtype == "fastest":
            found = by_main(partial(settled_arithmetic, self.folder, self.device))
            self.dtype, self.attention = found[0], self.attention or found[1]

    def claim(self) -> None:
        """Leave in the folder what says whose it is."""
        claim_folder(self.folder, self.given)
        if self.recipe.dtype == "fastest":
            settle_arithmetic(self.folder, (self.dtype, self.attention))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Take the time."""
        self.status.begin(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def check(self) -> None:
        """See that what is only needed later will do, before anything takes long.

        Raises:
            LayAlignError: It will not.
        """
        settings, method = self.recipe.model, self.method
        if self.composite:
            outline_trained(
                self.recipe,
                settings.encoder,
                settings.language_model,
                encoder_revision=settings.encoder_revision,
                language_model_revision=settings.language_model_revision,
            )
        if method.translator is not None:
            check_translator(method.translator, self.examples.languages(method.after_translation))

    def supervision(self, phase: str) -> dict[str, Any]:
        """What every stage is told about resuming, ending and who wants to know."""
        return {
            "resume": self.resume,
            "progress": partial(self.status.trained, phase),
            "stop": self.stop,
            "report_to": self.report_to,
        }

    def plan(self) -> RunSummary:
        """What would be done."""
        with tempfile.TemporaryDirectory() as folder:
            self.stages, plan = make_plan(self.method, dtype=self.dtype, folder=Path(folder))
        summary = self.summary(None, write=False)
        return dataclasses.replace(summary, dry_run=True, plan=plan)

    def tune(self, names: Sequence[str]) -> None:
        """Train stages of the language model itself, each of which is left alone if it is done.

        The model after the last one is in ``language_model``, those before it are in their stage's
        folder. Each stage starts from the folder before, also if that is a LoRA.
        """
        for name in names:
            is_last = name == list(self.method.language_model)[-1]
            target = self.folder / (LANGUAGE_MODEL_FOLDER if is_last else name)
            if not by_main(target.is_dir):
                self._tune(name, target)
            elif (wrong := by_main(partial(damage, target))) is not None:
                raise CheckpointError(
                    f"{target} is damaged ({wrong}); put a copy back, or delete it to train again"
                )
            by_main(partial(shutil.rmtree, self._scratch(name), ignore_errors=True))
            self.stages[name] = read_finetune(target)
            self.language_model = str(target)

    def _tune(self, name: str, target: Path) -> None:
        scratch = self._scratch(name)
        with self.phase(name), completed_by_main(target) as temporary:
            loading = self.loading()
            made = text_processor(self.recipe, self.language_model, loading["revision"])
            (train, dev), figures = self.texts(name)
            language_model = load_language_model(self.language_model, **loading)
            finetune_language_model(
                language_model.to(self.device),  # type: ignore[arg-type]
                made.tokenizer,
                train,
                config=with_lengths(self.configs[name], made),
                prompt_template=with_question(made.prompt_template),
                dev_examples=dev,
                revision=loading["revision"],
                output_dir=temporary,
                figures=figures,
                checkpoint_dir=scratch,
                **self.supervision(name),
            )
            if processes.is_main() and (logs := scratch / "tensorboard").is_dir():
                shutil.move(logs, temporary)
        self.forget_answers()

    def _scratch(self, name: str) -> Path:
        return self.folder / f"{name}{UNDER_WAY}"

    def texts(self, name: str) -> tuple[list[Sequence[Example]], dict[str, float]]:
        """Training and development examples of a stage as the language model reads them.

        Returns:
            They, and what making them has cost.
        """
        train, dev = self.examples.train[name], self.examples.dev[name]
        if name not in self.method.after_translation:
            return [train, dev], {}
        parts, seconds = with_translations(
            {f"{name}-train": train, f"{name}-dev": dev},
            self.answering().translator(),
            self.folder / EXAMPLES_FOLDER,
            batch_size=self.recipe.evaluation.batch_size,
            progress=self.status.told,
        )
        return parts, {"translation_seconds": seconds}

    def join(self) -> None:
        """Make LayAlign of the backbones: build it, train its stages, save it."""
        self.build()
        self.lexical()
        for name in self.composite:
            self.train(name)
        self.save()

    def build(self) -> None:
        """Load the backbones and join them."""
        with self.phase("load"):
            self.model, self.processor = build_composite(
                self.recipe, self.language_model, self.loading(), self.device
            )

    def lexical(self) -> None:
        """Warm up the adapter, unless a stage has already begun."""
        if self.recipe.model.init != "lexical":
            return
        kept = self.folder / LEXICAL_NAME
        if not any(checkpoints(self.folder / name) for name in self.configs):
            with self.phase("lexical"):
                error = start_lexically(
                    self.recipe, self.model, self.processor, self.examples.english, self.status.told
                )
            by_main(partial(write_json, kept, {"relative_error": error}))
        with suppress(OSError, ValueError, TypeError, LookupError, RecursionError):  # an older run
            error = by_main(lambda: float(json.loads(kept.read_bytes())["relative_error"]))
            self.stages["lexical"] = {"relative_error": error}

    def train(self, name: str) -> None:
        """Train a stage; one that is finished is only loaded."""
        before = checkpoints(self.folder / name)[-1:]
        with self.phase(name):
            result = train_stage(
                self.model,
                self.processor,
                self.examples.train[name],
                self.configs[name],
                output_dir=self.folder / name,
                dev_examples=self.examples.dev[name],
                **self.supervision(name),
            )
        self.stages[name] = result.to_dict()
        if checkpoints(self.folder / name)[-1:] != before:
            self.forget_answers()
        if is_sharded(self.model):  # no process can use it alone, and no other stage begin with it
            self.build()
            kept = result.best.update if result.best else result.updates
            weights = checkpoint_path(self.folder / name, kept)
            load_trained(self.model, read_weights(weights), weights)

    def save(self) -> None:
        """Make the folder a checkpoint, with the template and lengths of the last stage.

        What is there only to translate goes into a folder of its own.
        """
        self.processor = processor_for(self.processor, self.configs[self.composite[-1]])
        folder = self.folder / (TRANSLATOR_FOLDER if self.method.method.translates else "")
        by_main(partial(self.model.save_pretrained, folder))
        by_main(partial(self.processor.save_pretrained, folder))

    def evaluate(self) -> dict[str, Any] | None:
        """Measure what was trained, if there is something to measure on."""
        if not self.examples.test:
            return None
        with self.phase("evaluation"):
            systems = self.answering().systems()
            self.system = slug(own_system(systems))
            return measure(
                systems,
                self.examples.test,
                self.recipe.evaluation,
                trained=self.examples.trained_languages(),
                folder=self.folder / PREDICTIONS_FOLDER,
                progress=self.status.told,
            )

    def forget_answers(self) -> None:
        """Delete answers of earlier sessions: they are those of other weights."""
        answers = self.folder / PREDICTIONS_FOLDER
        by_main(partial(shutil.rmtree, answers, ignore_errors=True))

    def answering(self) -> Answering:
        """What there is by now that can answer."""
        return Answering(
            method=self.method,
            language_model=self.language_model,
            loading=self.loading(),
            composite=(self.model, self.processor) if self.composite else None,
        )

    def loading(self) -> dict[str, Any]:
        """How the language model is loaded; a revision is that of the one in the recipe."""
        settings = self.recipe.model
        is_given = self.language_model == settings.language_model
        return {
            "revision": settings.language_model_revision if is_given else None,
            "dtype": self.dtype,
            "attn_implementation": self.attention,
        }

    def summary(self, evaluation: dict[str, Any] | None, *, write: bool = True) -> RunSummary:
        """Put together what was done, and leave it in the folder."""
        translates = self.method.method.translates
        summary = RunSummary(
            output_dir=os.fspath(self.folder),
            stages=self.stages,
            language_model=None if self.composite or translates else self.language_model,
            evaluation=evaluation,
            system=self.system,
            seconds=self.seconds,
            seed=self.recipe.seed,
            peak_memory_gib=peak_memory_gib(),
            versions=versions(),
        )
        if write and processes.is_main():
            write_json(self.folder / SUMMARY_NAME, summary.to_dict())
        return summary
