"""Let EleutherAI's lm-eval run its tasks on a checkpoint, or on a plain language model.

After :func:`register`, lm-eval knows a model ``layalign``. Its requests say what the language model
reads; what the encoder reads comes from the document that a request was made of.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from os import PathLike
from typing import TYPE_CHECKING, Any

from layalign.errors import ConfigError
from layalign.eval.batching import in_batches, longest_first
from layalign.eval.likelihood import append, continuation_ids
from layalign.eval.loading import load_systems
from layalign.eval.report import check_output, write_json
from layalign.eval.systems import BARE, BatchedSystem, LayAlignSystem
from layalign.model.sequence import IGNORE_INDEX

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from layalign.eval.systems import Feature

MODEL_NAME = "layalign"
_RUN = ("until", "max_gen_toks")  # what we read ourselves of a request's generation arguments


class HarnessModel:
    """What lm-eval asks of a model; :func:`register` makes one of its classes out of it.

    The language model reads the whole prompt, which is never cut and from which the question is
    never left out, whatever the processor's settings are.

    Args:
        checkpoint: Folder or hub id with model and processor, or with a plain language model.
        encoder_field: Field of the documents that the encoder reads.
        encoder_template: The same as a template with names of fields, ``"{premise} {hypothesis}"``.
            With neither, the encoder reads the prompt.
        language: BCP-47 tag of the encoder's text; only encoders such as NLLB's need it.
        bare: Evaluate the bare language model, which has no encoder.
        batch_size: Requests at a time; halved when memory does not suffice.
        device: Where the model goes; a GPU if there is one by default.
        max_batch_size: Of lm-eval; not used.

    Raises:
        LayAlignError: The checkpoint cannot be used, or the settings contradict each other.
    """

    cache_hook: Any

    def __init__(
        self,
        checkpoint: str | PathLike[str],
        *,
        encoder_field: str | None = None,
        encoder_template: str | None = None,
        language: str | None = None,
        bare: bool = False,
        batch_size: int | str = 8,
        device: str | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        """Load the checkpoint."""
        super().__init__()
        if encoder_field is not None and encoder_template is not None:
            raise ConfigError("encoder_field and encoder_template are both set; choose one")
        if not str(batch_size).isdigit():
            raise ConfigError(f"batch_size is {batch_size!r}; expected a whole number")
        self.encoder_template = encoder_template
        if encoder_field is not None:
            self.encoder_template = f"{{{encoder_field}}}"
        self.language = language
        self.batch_size = int(batch_size)
        systems = load_systems(checkpoint)
        self.system = systems[BARE if bare else next(iter(systems))]
        if self.encoder_template is not None and not isinstance(self.system, LayAlignSystem):
            raise ConfigError(
                "a language model alone has no encoder; leave out encoder_field and "
                "encoder_template"
            )
        if device is not None:
            self.system.model.to(device)  # type: ignore[arg-type]

    def loglikelihood(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return log-probability of each continuation, and whether it is the likeliest text."""
        features = []
        for request in requests:
            context, continuation = request.args
            seam = len(context.rstrip())
            ids = continuation_ids(
                self.system.tokenizer, context[:seam], context[seam:] + continuation
            )
            features.append(append(self._feature(request, context[:seam]), ids))

        def run(rows: list[int]) -> list[tuple[float, bool]]:
            found = self.system.loglikelihoods([features[i] for i in rows])
            return [(one.logprob, one.greedy) for one in found]

        def keep(found: Mapping[int, tuple[float, bool]]) -> None:
            for i, answer in found.items():
                self.cache_hook.add_partial("loglikelihood", requests[i].args, answer)

        with self.system.evaluating():
            return in_batches(longest_first(features), self.batch_size, run, keep)

    def loglikelihood_rolling(
        self, requests: Sequence[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Refuse: a perplexity leaves open what the encoder should read.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "tasks that measure a perplexity are not supported; choose tasks of multiple choice or "
            "generation"
        )

    def generate_until(self, requests: Sequence[Instance], disable_tqdm: bool = False) -> list[str]:
        """Generate an answer to every request, with the arguments that it brings."""
        answers = [""] * len(requests)
        groups: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(i)
        for arguments, rows in groups.items():
            asked = [requests[i] for i in rows]
            for i, text in zip(rows, self._generate(asked, json.loads(arguments)), strict=True):
                answers[i] = text
        return answers

    def _generate(self, requests: Sequence[Instance], arguments: dict[str, Any]) -> list[str]:
        """Answer requests of the same generation arguments."""
        system = self._with(arguments)
        features = [self._feature(request, request.args[0]) for request in requests]

        def run(rows: list[int]) -> list[str]:
            return [answer.text for answer in system.answer_batch([features[i] for i in rows])]

        def keep(found: Mapping[int, str]) -> None:
            for i, text in found.items():
                self.cache_hook.add_partial("generate_until", requests[i].args, text)

        with system.evaluating():
            return in_batches(longest_first(features), self.batch_size, run, keep)

    def _with(self, arguments: dict[str, Any]) -> BatchedSystem:
        """The system with a request's generation arguments."""
        until = arguments.get("until") or []
        stop = (until,) if isinstance(until, str) else tuple(until)
        others = {name: value for name, value in arguments.items() if name not in _RUN}
        if not others.get("do_sample"):  # a temperature without sampling means nothing
            others = {n: v for n, v in others.items() if n not in ("temperature", "top_p", "top_k")}
        return dataclasses.replace(
            self.system,
            stop=tuple(word for word in stop if word),
            max_new_tokens=int(arguments.get("max_gen_toks", 256)),
            generation=others,
        )

    def _feature(self, request: Instance, context: str) -> Feature:
        """Tokenise a prompt and, for LayAlign, what the encoder reads."""
        system = self.system
        ids = system.tokenizer(context, add_special_tokens=False, verbose=False)
        if not isinstance(system, LayAlignSystem):
            bos = system.model.config.get_text_config().bos_token_id
            return {"input_ids": [*([] if bos is None else [bos]), *ids["input_ids"]]}
        text = self._encoder_text(request.doc, context)
        feature = system.processor.encode(text, language=self.language, prompt_template="")
        return {
            **feature,
            "input_ids": list(ids["input_ids"]),
            "labels": [IGNORE_INDEX] * len(ids["input_ids"]),
        }

    def _encoder_text(self, doc: Mapping[str, Any], context: str) -> str:
        if self.encoder_template is None:
            return context
        try:
            return self.encoder_template.format_map(doc)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise ConfigError(
                f"the encoder's template {self.encoder_template!r} does not fit the documents, "
                f"whose fields are {', '.join(map(str, doc))}"
            ) from error


@lru_cache(maxsize=1)
def register() -> type[Any]:
    """Make lm-eval know the model ``layalign``.

    Returns:
        The class of the model.

    Raises:
        ConfigError: lm-eval is not installed.
    """
    try:
        from lm_eval.api.model import LM
        from lm_eval.api.registry import register_model
    except ImportError as error:
        raise ConfigError("lm-eval is not installed; run pip install 'layalign[eval]'") from error

    class LayAlignLM(HarnessModel, LM):  # type: ignore[misc]
        """The model ``layalign`` of lm-eval."""

    register_model(MODEL_NAME)(LayAlignLM)
    return LayAlignLM


def evaluate_with_harness(
    checkpoint: str | PathLike[str],
    tasks: Sequence[str],
    *,
    include: str | PathLike[str] | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    output: str | PathLike[str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Run tasks of lm-eval on a checkpoint.

    Args:
        checkpoint: Folder or hub id of a checkpoint or of a plain language model.
        tasks: Names that lm-eval knows, or that files in ``include`` define.
        include: Folder with further task files, in lm-eval's format.
        limit: At most so many documents a task.
        batch_size: Requests at a time.
        output: JSON file to write the results to, every sample included.
        **options: Of :class:`HarnessModel`.

    Returns:
        What lm-eval's ``simple_evaluate`` returns, as plain values, without the samples.

    Raises:
        ConfigError: lm-eval is not installed or does not know a task.
        LayAlignError: The checkpoint cannot be used.
    """
    model_class = register()
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    if output is not None:
        check_output(output)
    manager = TaskManager(include_path=None if include is None else str(include))
    if unknown := [task for task in tasks if task not in manager.all_tasks]:
        raise ConfigError(
            f"lm-eval knows no task {unknown[0]!r}; see lm-eval's list, or name the folder of its "
            "file (--include)"
        )
    model = model_class(checkpoint, batch_size=batch_size, **options)
    found = simple_evaluate(model=model, tasks=list(tasks), task_manager=manager, limit=limit)
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
    if output is not None:
        write_json(output, plain)
    plain.pop("samples", None)
    return plain


def harness_table(results: Mapping[str, Any]) -> str:
    """Lay the results out as lm-eval does."""
    from lm_eval.utils import make_table

    return str(make_table(dict(results)))
