"""The examples of a run, all read before anything else begins."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from layalign import processes
from layalign.data import Example, LeakGuard, hold, iter_examples, mix
from layalign.train.batches import to_learn
from layalign.train.progress import RunProgress
from layalign.train.recipe import DataRecipe, StageData

_Parts = dict[str, Sequence[Example]]  # by stage

_MANY = 10_000  # examples, of which reading takes a second or so


class RunExamples:
    """What a run trains and tests on: few examples in memory, many in files.

    Args:
        settings: Where they come from.
        stages: Names of the stages that are run.
        folder: For the files, see :func:`layalign.data.hold`. What is there from an earlier session
            of the same run is found again.
        progress: Told how many have been read and tokenised, where there are many.

    Attributes:
        train: Training examples of each stage, mixed.
        dev: Development examples of each stage.
        test: Examples to evaluate on.
    """

    def __init__(
        self,
        settings: DataRecipe,
        stages: Collection[str],
        folder: Path,
        progress: RunProgress | None = None,
    ) -> None:
        """Begin without examples."""
        self.settings = settings
        self.stages = stages
        self.folder = folder
        self.progress = progress
        self.train: _Parts = {}
        self.dev: _Parts = {}
        self.test: list[Example] = []

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """Read everything, so that wrong paths show before anything takes long.

        The main process reads; the others get the examples, or the files that they are in. If that
        fails, or what is done inside, no file is left but those of an earlier session.

        Raises:
            LayAlignError: Data cannot be read or held, or test questions are trained on.
        """
        begun = processes.by_main(self.folder.exists)
        try:
            self.test, self.train, self.dev = processes.by_main(self._read)
            yield
        except BaseException:
            if not begun:
                self.discard()
            raise

    def _read(self) -> tuple[list[Example], _Parts, _Parts]:
        guard, reading = LeakGuard(), _Reading(self.progress)
        test = list(chain.from_iterable(map(guard.test, self.settings.evaluation)))
        trains, devs = {}, {}
        for name in self.stages:
            data: StageData = getattr(self.settings, name)
            train, dev = (
                hold(
                    reading.counted(to_learn(chain.from_iterable(sources), data.learn)),
                    self.folder / f"{name}-{part}.arrow",
                    tell=self._tokenising(name),
                )
                for part, sources in (
                    ("train", map(guard.training, data.train)),
                    ("dev", map(iter_examples, data.dev)),
                )
            )
            trains[name] = mix(train, data.mix) if data.mix else train
            devs[name] = dev
        reading.done()
        guard.settle(self.settings.on_leak)
        return test, trains, devs

    def _tokenising(self, stage: str) -> Callable[[int, int], None] | None:
        progress = self.progress
        if progress is None:
            return None
        return lambda done, total: progress(
            f"tokenise {stage}", done / total, f"{done:,} of {total:,} examples"
        )

    def discard(self) -> None:
        """Delete the files, and the folder that they are in if nothing else is there."""
        if processes.is_main() and self.folder.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):
                self.folder.parent.rmdir()

    def english(self) -> Iterator[str]:
        """Yield all English: what the two stages are to say, and what the fine-tune reads.

        A wide vocabulary matters for the lexical start: a word that is missing there is a word
        without a soft token.
        """
        for name, examples in self.train.items():
            if name != "finetune":
                yield from (example.target for example in examples if example.target)
        yield from (example.text for example in self._finetuned())

    def _finetuned(self) -> Iterable[Example]:
        """What the language model was fine-tuned on, here or in the run that it is from."""
        if "finetune" in self.train or self.settings.finetune is None:
            return self.train.get("finetune", ())
        return chain.from_iterable(map(iter_examples, self.settings.finetune.train))

    def languages(self, stages: Iterable[str]) -> set[str]:
        """Languages of what some stages read, and of what is evaluated on."""
        read = [part[name] for name in stages for part in (self.train, self.dev)]
        return {e.language for e in chain(self.test, *read)}

    def trained_languages(self) -> set[str]:
        """Languages that the two stages train on; without them, that the fine-tune does."""
        names = [name for name in self.train if name != "finetune"] or list(self.train)
        return {e.language for e in chain.from_iterable(self.train[name] for name in names)}


class _Reading:
    """Tells how many examples have been read, whenever there are many more; nothing of a few."""

    def __init__(self, progress: RunProgress | None) -> None:
        self.progress, self.count = progress, 0

    def counted(self, examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            self.count += 1
            if self.count % _MANY == 0:
                self._tell(0.0)
            yield example

    def done(self) -> None:
        if self.count >= _MANY:
            self._tell(1.0)

    def _tell(self, fraction: float) -> None:
        if self.progress is not None:
            self.progress("data", fraction, f"{self.count:,} examples")
