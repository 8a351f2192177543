"""Checkpoints that come with the package itself: trained parameters, a few megabytes each."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "checkpoints"


def shipped_checkpoints() -> dict[str, Path]:
    """Folders of the shipped checkpoints by name."""
    return {folder.name: folder for folder in sorted(FOLDER.iterdir()) if folder.is_dir()}
