"""The folder of an evaluation, from which a killed one can be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from layalign import processes
from layalign.errors import ConfigError
from layalign.eval.export import to_csv, to_markdown
from layalign.eval.journal import Journal, slug
from layalign.eval.report import check_output, write_json, write_text
from layalign.fields import differing

SETTINGS_NAME = "settings.json"


class ResultsFolder:
    """A folder with the predictions, as they are made, and in the end the results.

    ``settings.json`` says what was asked for, ``TASK.SYSTEM.jsonl`` holds the predictions,
    ``results.json``, ``results.csv`` and ``results.md`` the figures.

    Args:
        folder: Created if missing.
        settings: Everything that predictions depend on, as plain values.
        resume: Go on with what is there.

    Raises:
        ConfigError: The folder holds results that are not to be resumed, or those of other
            settings; or it cannot be written to.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
        """Claim the folder."""
        self.folder = folder
        processes.by_main(partial(_claim, folder, settings, resume=resume))

    def journal(self, task: str, system: str, items: int) -> Journal:
        """Open the predictions of one system on one task."""
        return Journal(self.folder / f"{task}.{slug(system)}.jsonl", items)

    def finish(self, summary: Mapping[str, Any], tasks: Mapping[str, Any]) -> None:
        """Write the results."""
        if not processes.is_main():
            return
        write_json(self.folder / "results.json", summary)
        write_text(self.folder / "results.csv", to_csv(tasks))
        write_text(self.folder / "results.md", to_markdown(tasks))


def _claim(folder: Path, settings: Mapping[str, Any], *, resume: bool) -> None:
    recorded = folder / SETTINGS_NAME
    check_output(recorded)
    if not recorded.exists():
        write_json(recorded, settings)
    elif not resume:
        raise ConfigError(
            f"{folder} already holds an evaluation; go on with it (--resume), or choose another "
            "output"
        )
    else:
        _compare(recorded, settings)


def _compare(recorded: Path, settings: Mapping[str, Any]) -> None:
    try:
        before = json.loads(recorded.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{recorded} cannot be read; choose another output") from error
    if changed := differing(before, json.loads(json.dumps(settings))):
        raise ConfigError(
            f"{recorded.parent} was begun with other settings, which differ in "
            f"{', '.join(changed)}; set them back, or choose another output"
        )
