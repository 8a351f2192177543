"""What ``tools/audit.py`` makes of pip-audit's answers."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

import audit

GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "version": "4", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([GOOD, SKIPPED], 0, "audited 1 packages, skipped 1, vulnerabilities: 0"),
        ([GOOD, BAD], 1, "b 2: PYSEC-1, fixed in 3"),
        ([SKIPPED], 0, "skipped the audit: the package index hands out no advisories"),
        (None, 0, "skipped the audit: no connection"),
    ],
)
def test_answers(
    packages: Any,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = "" if packages is None else json.dumps({"dependencies": packages})
    answer = SimpleNamespace(stdout=out, stderr="trying\nno connection\n")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    monkeypatch.setattr(sys, "argv", ["audit.py", "constraints.txt"])
    assert audit.main() == status
    assert said in capsys.readouterr().out
