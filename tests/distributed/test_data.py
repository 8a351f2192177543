"""What is read and tokenised once, by one process and by several."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from distributed.launching import finish, launch, start

pytestmark = [pytest.mark.distributed, pytest.mark.slow]

WORKER = str(Path(__file__).with_name("worker.py"))
NOBODY = "-1"


def found(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def test_tokenising_is_shared_and_all_find_the_same(tmp_path: Path) -> None:
    for count in (1, 3):
        launch([WORKER, "tokenise", str(tmp_path / str(count)), NOBODY], processes=count)
    (alone,) = found(tmp_path / "1")
    several = found(tmp_path / "3")
    assert [one["ids"] for one in several] == [alone["ids"]] * 3
    made = [one["made"] for one in several]
    assert sorted(chain(*made)) == alone["made"] == list(range(22))
    assert [len(indices) for indices in made] == [8, 8, 6]  # parts of four, the last one of two


def test_files_of_another_number_of_processes_are_found(tmp_path: Path) -> None:
    for count in (3, 2):
        launch([WORKER, "tokenise", str(tmp_path / "run"), NOBODY], processes=count)
    assert [one["made"] for one in found(tmp_path / "run")[:2]] == [[], []]


def test_one_that_fails_ends_all(tmp_path: Path) -> None:
    process = start([WORKER, "tokenise", str(tmp_path / "run"), "1"], processes=2)
    printed = finish(process)
    assert process.returncode != 0
    assert "cannot be tokenised" in printed
