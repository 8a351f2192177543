"""What is tried in the drill: each thing that happens to a run, and what has to come of it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faults
from ground import RECIPE, Ground, LostError, result_of

LAST = "task/checkpoint-4"
"""The newest checkpoint of the run that most files are harmed in."""

_QUICK = 10.0  # seconds in which a run has to end that is asked to
_WEIGHTS, _MOMENTS = "model.safetensors", "optimizer.pt"


@dataclass(frozen=True)
class Scenario:
    """One thing that happens to one run."""

    fault: str
    """What, in the words of the table."""

    act: Callable[[Ground, Path, random.Random], str]
    """Does it in a folder; returns what came of it, or raises :class:`LostError`."""


def scenarios(ground: Ground, kills: int) -> Iterator[Scenario]:
    """Yield everything that is tried."""
    for number in range(kills):
        kill = killed_some_time if number % 2 else killed_in_writing
        where = "at a random moment" if number % 2 else "while it writes"
        yield Scenario(f"`kill -9` {where}", kill)
    for number, count in ((signal.SIGTERM, 4), (signal.SIGINT, 2)):
        for _ in range(count):
            yield Scenario(number.name, partial(asked_to_end, number))
    yield Scenario("begun twice", second_process)
    yield Scenario("worker of a comparison killed", worker_killed)
    yield from _disks(ground)
    yield from _harms(ground)
    yield from _numbers()
    yield Scenario("clock jumps by a day", clock_jumps)


def _disks(ground: Ground) -> Iterator[Scenario]:
    for size in (1000, 10_000, 60_000):
        yield Scenario("file size limit (quota)", partial(quota, size))
    if not faults.can_mount(ground.root / "can-mount"):
        return
    for kib in (60, 400, 700):
        yield Scenario("disk full", partial(full_disk, kib))
    for begun in (False, True):
        yield Scenario("read-only disk", partial(read_only, begun))


def _numbers() -> Iterator[Scenario]:
    for name, spoil in (
        ("loss NaN", faults.times(float("nan"))),
        ("loss infinite", faults.times(float("inf"))),
        ("gradients NaN", faults.only_gradients),
    ):
        yield Scenario(f"{name}, again and again", partial(no_numbers, spoil))
    yield Scenario("loss NaN, once", no_number_once)


def _harms(ground: Ground) -> Iterator[Scenario]:
    names = sorted(path.name for path in (ground.root / "begun" / LAST).iterdir())
    for number, name in enumerate(names):
        several = faults.HARMS if name in (_WEIGHTS, _MOMENTS) else (faults.HARMS[number % 5],)
        for way in several:
            what = way.__name__.replace("_", " ")
            yield Scenario(f"checkpoint file: {what}", partial(harmed, name, way))
    yield Scenario("all checkpoints harmed", all_harmed)
    yield Scenario("fine-tune harmed", fine_tune_harmed)
    for way in faults.HARMS:
        what = way.__name__.replace("_", " ")
        yield Scenario(f"examples or token ids: {what}", partial(cache_harmed, way))
    yield Scenario("recipe harmed", recipe_harmed)
    yield Scenario("status harmed", status_harmed)
    yield Scenario("answers cut off", answers_cut_off)


# Ends --------------------------------------------------------------------------------------------


def killed_some_time(ground: Ground, out: Path, chance: random.Random) -> str:
    """Killed at a random moment."""
    child = ground.start(out)
    child.wait(chance.uniform(0, ground.seconds))
    child.send(signal.SIGKILL)
    child.wait()
    ground.recovers(out)
    return "resumed"


def killed_in_writing(ground: Ground, out: Path, chance: random.Random) -> str:
    """Killed between two steps of writing something."""
    ground.run(out, partial(faults.die_at, chance.randint(1, ground.places)))
    ground.recovers(out)
    return "resumed"


def asked_to_end(number: signal.Signals, ground: Ground, out: Path, chance: random.Random) -> str:
    """Sent a signal some time after it has begun its work."""
    child = ground.start(out)
    while not (out / "status.json").exists() and not child.wait(0.01):
        pass
    child.wait(chance.uniform(0, ground.seconds))
    child.send(number)
    if not child.wait(_QUICK):
        raise LostError(f"not over {_QUICK:.0f} seconds after {number.name}")
    ended = child.ended()
    if ended.code not in (0, 128 + number) or (ended.code and "stopped by" not in ended.said):
        raise LostError(f"exit {ended.code}: {ended.said}")
    ground.recovers(out)
    return "saved, resumed"


def second_process(ground: Ground, out: Path, chance: random.Random) -> str:
    """Begun twice at the same time."""
    child = ground.start(out)
    while not (out / "status.json").exists() and not child.wait(0.01):
        pass
    os.kill(child.pid, signal.SIGSTOP)
    try:
        other = ground.root / f"{out.name}-other"
        other.symlink_to(out)
        ground.run(other).refused("another process is at work")
    finally:
        os.kill(child.pid, signal.SIGCONT)
    child.ended()
    ground.recovers(out)
    return "the second one refused"


def worker_killed(ground: Ground, out: Path, chance: random.Random) -> str:
    """A comparison loses the process that trains."""
    words = ["compare", str(RECIPE), "--methods", "layalign", "--seeds", "1", "--quiet"]
    words += ["--budget", "64", "--set", "comparison.shares={translation: 1, task: 1}"]
    words += [*ground.overrides(), "--output", str(out)]
    child = ground.command(out.name, words)
    while not (found := list(out.rglob("task/checkpoint-*"))) and not child.wait(0.01):
        pass
    if not found:
        raise LostError(child.ended().said)
    cell = found[0].parents[1]
    os.kill(json.loads((cell / "status.json").read_text())["pid"], signal.SIGKILL)
    ended = child.ended()
    if ended.code != 1 or "ended by signal 9" not in ended.said:
        raise LostError(f"exit {ended.code}: {ended.said}")
    if (ended := ground.command(out.name, words).ended()).code:
        raise LostError(ended.said)
    whole = ground.root / f"{out.name}-whole"
    plain = ["train", f"{cell}.yaml", "--quiet", "--set", f"output_dir={whole}"]
    if (ended := ground.command(whole.name, plain).ended()).code:
        raise LostError(ended.said)
    if result_of(cell) != result_of(whole):
        raise LostError("another result")
    return "told, resumed"


# Disks -------------------------------------------------------------------------------------------


def quota(size: int, ground: Ground, out: Path, chance: random.Random) -> str:
    """No file may be larger than that."""
    ground.run(out, partial(faults.small_files, size)).refused("cannot write", "cannot be written")
    ground.recovers(out)
    return "refused, resumed with room"


def full_disk(kib: int, ground: Ground, out: Path, chance: random.Random) -> str:
    """The disk is full on the way."""
    with faults.small_disk(out, kib) as remount:
        ground.run(out / "run").refused("cannot write", "cannot be written")
        remount("size=64m")
        ground.recovers(out / "run")
    return "refused, resumed with room"


def read_only(begun: bool, ground: Ground, out: Path, chance: random.Random) -> str:
    """The disk cannot be written, from the start or later."""
    with faults.small_disk(out, 65536) as remount:
        if begun:
            shutil.copytree(ground.root / "begun", out / "run")
        remount("ro")
        ground.run(out / "run").refused("cannot write", "cannot be written", "Read-only")
        remount("rw")
        ground.recovers(out / "run")
    return "refused, resumed when it could write"


# Files -------------------------------------------------------------------------------------------


def harmed(
    name: str, way: Callable[[Path], None], ground: Ground, out: Path, chance: random.Random
) -> str:
    """A file of the newest checkpoint is harmed."""
    shutil.copytree(ground.root / "begun", out)
    faults.harm(out / LAST / name, way)
    ground.recovers(out)
    if not (out / "task" / "damaged-checkpoint-4").is_dir():
        raise LostError("the damaged checkpoint was used")
    return "resumed from the one before"


def all_harmed(ground: Ground, out: Path, chance: random.Random) -> str:
    """Every checkpoint of the stage is."""
    shutil.copytree(ground.root / "begun", out)
    for checkpoint in (out / "task").glob("checkpoint-*"):
        faults.harm(checkpoint / _WEIGHTS, faults.flip_bit)
    ground.run(out).refused("is whole")
    shutil.rmtree(out / "task")
    ground.recovers(out)
    return "refused, done again as it says"


def fine_tune_harmed(ground: Ground, out: Path, chance: random.Random) -> str:
    """The finished fine-tune is."""
    shutil.copytree(ground.root / "begun", out)
    faults.harm(out / "language_model" / _WEIGHTS, faults.flip_bit)
    ground.run(out).refused("is damaged")
    shutil.rmtree(out / "language_model")
    ground.recovers(out)
    return "refused, done again as it says"


def cache_harmed(
    way: Callable[[Path], None], ground: Ground, out: Path, chance: random.Random
) -> str:
    """A file of examples or token ids is."""
    shutil.copytree(ground.root / "cached", out)
    file = chance.choice(sorted((out / ".examples").iterdir()))
    faults.harm(file, way)
    ground.recovers(out, faults.examples_on_disk)
    return "made again"


def recipe_harmed(ground: Ground, out: Path, chance: random.Random) -> str:
    """The recipe in the folder is."""
    shutil.copytree(ground.root / "begun", out)
    recipe = (out / "recipe.yaml").read_bytes()
    (out / "recipe.yaml").write_bytes(b"{" + recipe)
    ground.run(out).refused("recipe.yaml")
    (out / "recipe.yaml").write_bytes(recipe)
    ground.recovers(out)
    return "refused, resumed with a copy"


def status_harmed(ground: Ground, out: Path, chance: random.Random) -> str:
    """What `layalign status` reads is."""
    shutil.copytree(ground.root / "begun", out)
    (out / "status.json").write_bytes(b"\x00\xff{")
    ground.recovers(out)
    return "written anew"


def answers_cut_off(ground: Ground, out: Path, chance: random.Random) -> str:
    """The answers of an evaluation that was killed are."""
    shutil.copytree(ground.root / "undisturbed", out)
    (out / "summary.json").unlink()
    faults.cut_off(out / "predictions" / "layalign.jsonl")
    ground.recovers(out)
    return "the rest answered again"


# Numbers and clocks ------------------------------------------------------------------------------


def no_numbers(
    spoil: Callable[[Any], Any], ground: Ground, out: Path, chance: random.Random
) -> str:
    """Losses or gradients are no numbers from some update on."""
    first = chance.randint(1, 4)
    spoilt = partial(faults.bad_losses, spoil, range(first, first + 99))
    ground.run(out, spoilt).refused("in a row")
    if not list(out.glob("*/bad-updates/*/batch.safetensors")):
        raise LostError("the batches were not kept")
    ground.recovers(out)
    return "stopped, batches kept, resumed"


def no_number_once(ground: Ground, out: Path, chance: random.Random) -> str:
    """One update alone is none."""
    update = chance.randint(1, 4)
    spoilt = partial(faults.bad_losses, faults.times(float("nan")), range(update, update + 1))
    if (ended := ground.run(out, spoilt)).code:
        raise LostError(ended.said)
    losses = result_of(out)["losses"]["translation"]
    whole = ground.undisturbed["losses"]["translation"]
    if losses[:update] != [*whole[: update - 1], None] or None in losses[update:]:
        raise LostError(f"losses are {losses}")
    return "that update left out"


def clock_jumps(ground: Ground, out: Path, chance: random.Random) -> str:
    """The clock jumps by days."""
    ground.recovers(out, faults.jumping_clock)
    return "nothing noticed"
