"""Evaluate a saved checkpoint, or a plain language model, on tasks or on data of one's own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layalign import processes
from layalign.data import DataSource, check_language
from layalign.errors import ConfigError
from layalign.eval.comparison import compare
from layalign.eval.jobs import Job, adjusted, own_job, task_jobs
from layalign.eval.metrics import Metric
from layalign.eval.prompts import BARE_PROMPT, check_question
from layalign.eval.provenance import command, describe_checkpoint, versions
from layalign.eval.report import check_output, write_json
from layalign.eval.results import EvaluationResult
from layalign.eval.results_folder import ResultsFolder
from layalign.eval.runner import Progress, evaluate
from layalign.eval.tasks import Scoring, Task, load_task

if TYPE_CHECKING:
    from layalign.eval.systems import BatchedSystem, System


def evaluate_checkpoint(
    checkpoint: str | PathLike[str],
    *,
    tasks: Sequence[str | Task] | None = None,
    data: str | PathLike[str] | DataSource | None = None,
    split: str | None = None,
    languages: Sequence[str] | None = None,
    limit: int | None = None,
    batch_size: int = 32,
    metric: Metric = "number",
    max_new_tokens: int | None = None,
    scoring: Scoring | None = None,
    template: str | None = None,
    overrides: Sequence[str] = (),
    base: bool = True,
    base_prompt_template: str | None = None,
    trained: Collection[str] | None = None,
    output: str | PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate a saved checkpoint and, on the same items, its bare language model.

    A plain language model is evaluated as the bare one, alone.

    Args:
        checkpoint: Folder or hub id with model and processor, or with a plain language model; or
            the name of an embedded one.
        tasks: Shipped tasks by name, paths of YAML files, or tasks. None to evaluate ``data`` as
            it is, with the checkpoint's own prompt.
        data: With tasks, the folder that holds one subfolder for each. Without, a named set
            (``word_problems`` by default), the path of a file, or a full :class:`DataSource`.
        split: In place of the own split of tasks that have one; of a named set, ``test`` by
            default.
        languages: BCP-47 tags; those of the task, or all languages of the data, by default.
        limit: At most so many items a language.
        batch_size: Items answered at a time; halved when memory does not suffice.
        metric: Without tasks: ``"number"``, ``"choice"``, ``"exact"`` or ``"translation"``.
        max_new_tokens: Longest answer, tokens; the tasks' own (without tasks, 256) by default.
        scoring: ``"generate"`` or ``"loglikelihood"`` for tasks with choices, in place of their
            own; other tasks always generate.
        template: Name of the tasks' template, in place of the first.
        overrides: ``dotted.key=value`` for tasks given by name; see :func:`load_task`.
        base: Evaluate the bare language model inside the checkpoint too.
        base_prompt_template: Without tasks, the prompt of the bare or plain model, with
            ``{question}``. By default the processor's, with the question on a line before it if it
            does not take the question; of a plain model the one that it was fine-tuned with here,
            if any, else the question and a line break.
        trained: Languages of the training data, if known; shown apart from the others.
        output: A ``.json`` file to write the results to, every output included; or a folder, to
            which predictions are written as they are made.
        resume: Go on with an evaluation in the folder ``output``.
        progress: Told after every batch.

    Returns:
        ``checkpoint``, ``weights_sha256``, ``recipe``, ``versions``, ``seeds``, ``command`` and
        ``tasks``: for each task what :func:`compare` returns and ``version``, ``template``,
        ``scoring``, ``metric``, ``data_sha256``, ``missing_languages`` and, for each system,
        ``seconds``, ``new_tokens`` and ``systems`` (share of unparsed answers, speed). Without
        tasks, the values of the only one stand in the place of ``tasks``.

    Raises:
        LayAlignError: The checkpoint or the data cannot be used, or a setting is not valid.
    """
    if base_prompt_template is not None:
        check_question(base_prompt_template, BARE_PROMPT)
    if tasks is None:
        jobs = [own_job(data, split, languages, limit, metric, max_new_tokens)]
    elif isinstance(data, DataSource) or base_prompt_template is not None:
        raise ConfigError("with tasks, data is a folder, and the prompts are those of the tasks")
    else:
        changes = {
            "split": split,
            "max_new_tokens": max_new_tokens,
            "scoring": scoring,
            "template": template,
        }
        chosen = [load_task(t, overrides) if isinstance(t, str) else t for t in tasks]
        jobs = task_jobs([adjusted(t, **changes) for t in chosen], data, languages, limit)
    run = _Run(checkpoint, jobs, output, resume=resume, base=base, base_prompt=base_prompt_template)
    summaries = run.evaluate(batch_size, languages, trained, progress)
    summary = {**run.facts(), **({"tasks": summaries} if tasks is not None else _only(summaries))}
    run.write(summary, summaries)
    return summary


def _only(summaries: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    (summary,) = summaries.values()
    return summary


class _Run:
    """One checkpoint, its jobs and where the results go."""

    def __init__(
        self,
        checkpoint: str | PathLike[str],
        jobs: Sequence[Job],
        output: str | PathLike[str] | None,
        *,
        resume: bool,
        base: bool,
        base_prompt: str | None,
    ) -> None:
        self.checkpoint, self.jobs = checkpoint, jobs
        self.base, self.base_prompt = base, base_prompt
        self.file: Path | None = None
        self.folder: ResultsFolder | None = None
        self.predictions: dict[str, dict[str, Any]] = {}
        self.data = {job.task.name: job.settings() for job in jobs}
        is_folder = output is not None and Path(output).suffix != ".json"
        if resume and not is_folder:
            raise ConfigError("only an evaluation in a folder can be resumed; name it as output")
        if output is not None and not is_folder:
            self.file = check_output(output)
        self.described = describe_checkpoint(checkpoint)
        if output is not None and is_folder:
            self.folder = ResultsFolder(Path(output), self.settings(), resume=resume)

    def settings(self) -> dict[str, Any]:
        """What the predictions depend on."""
        hashes = {name: self.described[name] for name in ("weights_sha256", "processor_sha256")}
        own = {"base": self.base, "base_prompt_template": self.base_prompt}
        return {**hashes, **own, "tasks": self.data}

    def facts(self) -> dict[str, Any]:
        """What is needed to repeat the run."""
        return {
            "checkpoint": fspath(self.checkpoint),
            **self.described,
            "versions": versions(),
            "seeds": {"bootstrap": 0},  # greedy decoding and log-likelihoods have none
            "command": command(),
        }

    def evaluate(
        self,
        batch_size: int,
        languages: Sequence[str] | None,
        trained: Collection[str] | None,
        progress: Progress | None,
    ) -> dict[str, dict[str, Any]]:
        """Evaluate all systems on every task."""
        from layalign.eval.loading import load_systems
        from layalign.eval.systems import BARE, LAYALIGN

        systems = load_systems(
            self.checkpoint, bare=self.base, bare_prompt_template=self.base_prompt
        )
        steps = _Steps(progress, sum(len(job.examples) for job in self.jobs) * len(systems))
        summaries = {}
        for job in self.jobs:
            results = {
                name: self._evaluate(job, name, _set_to(job.task, system), batch_size, steps)
                for name, system in systems.items()
            }
            self.predictions[job.task.name] = {
                name: result.to_dict(predictions=True)["predictions"]
                for name, result in results.items()
            }
            summaries[job.task.name] = {
                **self._facts(job, languages),
                **compare(
                    results.get(LAYALIGN),
                    results.get(BARE),
                    trained=trained,
                    groups=job.task.groups,
                ),
                "systems": {name: result.figures() for name, result in results.items()},
                "new_tokens": {name: result.new_tokens for name, result in results.items()},
                "seconds": {name: result.seconds for name, result in results.items()},
            }
        return summaries

    def _evaluate(
        self, job: Job, name: str, system: System, batch_size: int, steps: _Steps
    ) -> EvaluationResult:
        items = len(job.examples)
        label = name if len(self.jobs) == 1 else f"{job.task.name}, {name}"
        folder = self.folder
        opened = nullcontext() if folder is None else folder.journal(job.task.name, name, items)
        with opened as journal:
            return evaluate(
                system,
                job.examples,
                metric=job.task.metric,
                batch_size=batch_size,
                journal=journal,
                progress=steps.next(label, items),
            )

    def _facts(self, job: Job, languages: Sequence[str] | None) -> dict[str, Any]:
        task, source = job.task, job.source
        found = {example.language for example in job.examples}
        wanted = [] if languages is None else [check_language(tag) for tag in languages]
        return {
            "data": source.label,
            "split": source.split,
            "version": task.version,
            "template": {"name": task.template, "version": task.texts.version},
            "scoring": task.scoring,
            "metric": task.metric,
            "max_new_tokens": task.max_new_tokens,
            "limit": source.limit,
            "data_sha256": self.data[task.name]["data_sha256"],
            "missing_languages": [tag for tag in wanted if tag not in found],
        }

    def write(self, summary: Mapping[str, Any], tasks: Mapping[str, Any]) -> None:
        """Leave the results where they were asked for."""
        if self.file is not None and processes.is_main():
            named = self.predictions if "tasks" in summary else _only(self.predictions)
            write_json(self.file, {**summary, "predictions": named})
        if self.folder is not None:
            self.folder.finish(summary, tasks)


def _set_to(task: Task, system: BatchedSystem) -> System:
    """The system as a task asks for it."""
    from layalign.eval.likelihood import ChoiceSystem

    system = replace(
        system, template=task.texts, stop=task.stop, max_new_tokens=task.max_new_tokens
    )
    if task.scoring == "generate":
        return system
    return ChoiceSystem(system, task.continuation, task.normalise)


class _Steps:
    """One progress out of several evaluations, one after the other."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.before = progress, total, 0

    def next(self, name: str, items: int) -> Progress | None:
        """The progress of the next evaluation."""
        before = self.before
        self.before += items
        progress = self.progress
        if progress is None:
            return None

        def report(done: int, total: int, label: str = "") -> None:
            progress(before + done, self.total, name)

        return report
