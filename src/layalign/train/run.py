"""Run a recipe: load, train the stages, save, evaluate."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from layalign.errors import ConfigError, TrainingError
from layalign.eval.journal import slug
from layalign.eval.loading import load_bare, make_systems, read_finetune
from layalign.eval.prompts import with_question
from layalign.eval.report import write_json
from layalign.eval.systems import BARE, BatchedSystem
from layalign.memory import peak_memory_gib
from layalign.model import LayAlignModel
from layalign.model.backbones import load_language_model
from layalign.model.checkpoint import LANGUAGE_MODEL_FOLDER
from layalign.model.lexical import lexical_start
from layalign.processing import LayAlignProcessor
from layalign.train.arithmetic import fastest_arithmetic
from layalign.train.batches import spread_different
from layalign.train.checkpoints import checkpoints, rename_when_complete
from layalign.train.examples import RunExamples
from layalign.train.finetune import finetune_language_model
from layalign.train.measure import measure, own_system
from layalign.train.methods import plan_method
from layalign.train.plan import make_plan
from layalign.train.progress import ProgressCallback, RunProgress
from layalign.train.recipe import STAGES, Recipe, differing_keys, load_recipe, save_recipe
from layalign.train.summary import RunSummary, versions
from layalign.train.trainer import (
    make_processor,
    preserved_random_state,
    processor_for,
    train_stage,
)

RECIPE_NAME = "recipe.yaml"
SUMMARY_NAME = "summary.json"
PREDICTIONS_FOLDER = "predictions"
# Removed in the end; nobody's own folder has this name.
EXAMPLES_FOLDER = ".examples"


def run_recipe(
    recipe: Recipe,
    *,
    resume: bool = False,
    dry_run: bool = False,
    progress: RunProgress | None = None,
) -> RunSummary:
    """Train and evaluate what a recipe describes, on a GPU if there is one.

    ``output_dir`` becomes a checkpoint with processor and recipe, which
    ``LayAlignModel.from_pretrained`` and the command line take. The stages' own checkpoints stand
    in subfolders, and until the run is complete so do examples that are too many for memory. With
    the stage ``finetune`` alone, the language model in the subfolder ``language_model`` is the
    result, an ordinary folder of transformers.

    Args:
        recipe: From :func:`load_recipe`.
        resume: Go on with an interrupted run of the same recipe, in the stage where it stopped;
            start it if there is none. A finished run is left as it is.
        dry_run: Only say what would be done; see :func:`make_plan`. Nothing is left behind.
        progress: Told how far each phase is.

    Raises:
        LayAlignError: Data, backbones or ``output_dir`` cannot be used, or training fails.
    """
    run = _Run(plan_method(recipe).recipe, resume=resume, progress=progress)
    if dry_run:
        return run.plan()
    run.check_folder()
    finished = run.folder / SUMMARY_NAME
    if resume and finished.exists():
        return RunSummary.load(finished)
    with run.phase("data"):
        run.examples.load()
    run.claim_folder()
    with preserved_random_state():
        run.finetune()
        if run.composite:
            run.join()
        evaluation = run.evaluate()
    run.examples.discard()
    return run.summary(evaluation)


class _Run:
    """One run's parts, made one after the other."""

    model: LayAlignModel
    processor: LayAlignProcessor

    def __init__(self, recipe: Recipe, *, resume: bool, progress: RunProgress | None) -> None:
        self.recipe = recipe
        self.resume = resume
        self.progress = progress
        self.folder = Path(recipe.output_dir)
        self.stages: dict[str, dict[str, Any]] = {}
        self.seconds: dict[str, float] = {}
        self.configs = {
            name: config for name in STAGES if (config := getattr(recipe.stage, name)) is not None
        }
        self.composite = recipe.stage.composite
        self.examples = RunExamples(recipe.data, self.configs, self.folder / EXAMPLES_FOLDER)
        self.system: str | None = None
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype: str = recipe.dtype
        self.attention = recipe.model.attn_implementation
        if recipe.dtype == "fastest":
            self.dtype, attention = fastest_arithmetic(self.device)
            self.attention = self.attention or attention

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Take the time."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def report(self, phase: str) -> ProgressCallback | None:
        """A stage's progress as the run's."""
        progress = self.progress
        if progress is None:
            return None
        return lambda state: progress(phase, state.fraction, str(state))

    def plan(self) -> RunSummary:
        """What would be done."""
        with tempfile.TemporaryDirectory() as folder:
            self.stages, plan = make_plan(
                self.recipe, self.configs, dtype=self.dtype, folder=Path(folder)
            )
        summary = self.summary(None, write=False)
        return dataclasses.replace(summary, dry_run=True, plan=plan)

    def check_folder(self) -> None:
        """See that the folder is this run's.

        Raises:
            TrainingError: Another run's results are there.
            ConfigError: The recipe has changed.
        """
        recorded = self.folder / RECIPE_NAME
        if recorded.exists() and not self.resume:
            raise TrainingError(
                f"{self.folder} already holds a run; resume it, or choose another output_dir"
            )
        if recorded.exists():
            changed = differing_keys(self.recipe, load_recipe(recorded))
            if changed:
                raise ConfigError(
                    f"the recipe differs from the one that {self.folder} was begun with, in "
                    f"{', '.join(changed)}; set it back, or choose another output_dir"
                )

    def claim_folder(self) -> None:
        """Leave the recipe in the folder.

        Raises:
            TrainingError: It cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_recipe(self.folder / RECIPE_NAME, self.recipe)
        except OSError as error:
            raise TrainingError(
                f"cannot write to {self.folder} ({error.strerror}); choose another output_dir"
            ) from error

    def finetune(self) -> None:
        """Train the language model itself, unless that is done."""
        target = self.folder / LANGUAGE_MODEL_FOLDER
        if "finetune" not in self.configs:
            return
        if not target.is_dir():
            self._finetune(target)
        self.stages["finetune"] = read_finetune(target)

    def _finetune(self, target: Path) -> None:
        with self.phase("finetune"), rename_when_complete(target) as temporary:
            made = self._new_processor(self.recipe.model.language_model)
            language_model = load_language_model(
                self.recipe.model.language_model,
                revision=self.recipe.model.language_model_revision,
                dtype=self.dtype,
                attn_implementation=self.attention,
            )
            finetune_language_model(
                language_model.to(self.device),  # type: ignore[arg-type]
                made.tokenizer,
                self.examples.train["finetune"],
                config=self.configs["finetune"],
                prompt_template=with_question(made.prompt_template),
                dev_examples=self.examples.dev["finetune"],
                output_dir=temporary,
                progress=self.report("finetune"),
            )

    def join(self) -> None:
        """Make LayAlign of the backbones: build it, train its stages, save it."""
        self.build()
        self.lexical()
        for name in self.composite:
            self.train(name)
        self.save()

    def build(self) -> None:
        """Load the backbones and join them."""
        settings = self.recipe.model
        tuned = self.folder / LANGUAGE_MODEL_FOLDER
        language_model = str(tuned) if tuned.is_dir() else settings.language_model
        with self.phase("load"):
            torch.manual_seed(self.recipe.seed)
            self.model = LayAlignModel.from_backbones(
                settings.encoder,
                language_model,
                dtype=self.dtype,
                attn_implementation=self.attention,
                encoder_revision=settings.encoder_revision,
                language_model_revision=settings.language_model_revision,
                **settings.config_fields(),
            )
            self.model.to(self.device)  # type: ignore[arg-type]
            self.processor = self._new_processor(language_model)
            self.processor.check_model(self.model.config)

    def _new_processor(self, language_model: str) -> LayAlignProcessor:
        # Where nothing but the language model is trained, no encoder is read.
        encoder = self.recipe.model.encoder if self.composite else language_model
        return make_processor(self.recipe.processor, encoder, language_model)

    def lexical(self) -> None:
        """Warm up the adapter, unless a stage has already begun."""
        begun = any(checkpoints(self.folder / name) for name in self.configs)
        if self.recipe.model.init != "lexical" or begun:
            return
        settings = self.recipe.model.lexical
        progress = self.progress
        with self.phase("lexical"):
            error = lexical_start(
                self.model,
                self.processor,
                spread_different(self.examples.english, settings.texts),
                updates=settings.updates,
                batch_size=settings.batch_size,
                lr=settings.lr,
                seed=self.recipe.seed,
                progress=progress and (lambda done, n: progress("lexical", done / n, "")),
            )
        self.stages["lexical"] = {"relative_error": error}

    def train(self, name: str) -> None:
        """Train a stage; one that is finished is only loaded."""
        with self.phase(name):
            result = train_stage(
                self.model,
                self.processor,
                self.examples.train[name],
                self.configs[name],
                output_dir=self.folder / name,
                dev_examples=self.examples.dev[name],
                resume=self.resume,
                progress=self.report(name),
            )
        self.stages[name] = result.to_dict()

    def save(self) -> None:
        """Make the folder a checkpoint, with the template and lengths of the last stage."""
        self.processor = processor_for(self.processor, self.configs[self.composite[-1]])
        self.model.save_pretrained(self.folder)
        self.processor.save_pretrained(self.folder)

    def evaluate(self) -> dict[str, Any] | None:
        """Measure what was trained, if there is something to measure on."""
        if not self.examples.test:
            return None
        with self.phase("evaluation"):
            systems = self.systems()
            self.system = slug(own_system(systems))
            return measure(
                systems,
                self.examples.test,
                self.recipe.evaluation,
                trained=self.examples.trained_languages(),
                folder=self.folder / PREDICTIONS_FOLDER,
                progress=self.progress,
            )

    def systems(self) -> dict[str, BatchedSystem]:
        """LayAlign and the bare language model, or the one that was only fine-tuned."""
        settings = self.recipe.evaluation
        options: dict[str, Any] = {
            "bare_prompt_template": settings.bare_prompt_template,
            "max_new_tokens": settings.max_new_tokens,
        }
        if self.composite:
            return make_systems(self.model, self.processor, bare=settings.bare, **options)
        loading = {"dtype": self.dtype, "attn_implementation": self.attention}
        folder = self.folder / LANGUAGE_MODEL_FOLDER
        return {BARE: load_bare(folder, loading=loading, **options)}

    def summary(self, evaluation: dict[str, Any] | None, *, write: bool = True) -> RunSummary:
        """Put together what was done, and leave it in the folder."""
        summary = RunSummary(
            output_dir=os.fspath(self.folder),
            stages=self.stages,
            evaluation=evaluation,
            system=self.system,
            seconds=self.seconds,
            seed=self.recipe.seed,
            peak_memory_gib=peak_memory_gib(),
            versions=versions(),
        )
        if write:
            write_json(self.folder / SUMMARY_NAME, summary.to_dict())
        return summary
