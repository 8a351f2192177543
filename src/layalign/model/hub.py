"""Checkpoints to and from the Hugging Face Hub: the only file that calls it for them."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import (
    HfApi,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from layalign.embedded.registry import MODELS
from layalign.errors import CheckpointError, reason

_FAILURES = (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError)


def download(repo_id: str, revision: str | None = None) -> Path:
    """Fetch a repository, or find it in the cache.

    Raises:
        CheckpointError: There is none, or the Hub cannot be reached.
    """
    try:
        return Path(snapshot_download(repo_id, revision=revision))
    except _FAILURES as error:
        raise CheckpointError(
            f"{repo_id!r} is no local folder and could not be fetched from the hub: {reason(error)}"
        ) from error


def commit_of(backbone: object, revision: str | None = None) -> str | None:
    """The commit of a backbone that was fetched from the Hub; else the revision as it was given.

    Args:
        backbone: Hub id, or anything else that a backbone is given as.
        revision: Branch, tag or commit; None for the main branch.
    """
    if not isinstance(backbone, str) or backbone in MODELS or Path(backbone).exists():
        return revision
    for file in ("config.json", "adapter_config.json"):
        try:
            found = try_to_load_from_cache(backbone, file, revision=revision)
        except HFValidationError:
            break
        if isinstance(found, str):
            return Path(found).parent.name
    return revision


def download_readme(repo_id: str) -> Path | None:
    """Fetch the model card of a repository; None if there is none or it cannot be had."""
    try:
        return Path(hf_hub_download(repo_id, "README.md"))
    except _FAILURES:
        return None


def upload(
    folder: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str = "Upload a LayAlign checkpoint",
    create_pr: bool = False,
) -> str:
    """Upload all of a folder.

    Args:
        folder: Of a checkpoint.
        repo_id: Such as ``user/name``; created if it is not there.
        private: Whether a new repository is; None for the account's default.
        token: As in huggingface_hub; None for the one that was logged in with.
        revision: Branch; None for the main one.
        commit_message: First line of what the Hub records.
        create_pr: Propose the change instead of making it.

    Returns:
        The address of the change.

    Raises:
        CheckpointError: The Hub refuses it or cannot be reached.
    """
    api = HfApi(token=token)
    try:
        found = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        return str(
            api.upload_folder(
                repo_id=found,
                folder_path=Path(folder),
                revision=revision,
                commit_message=commit_message,
                create_pr=create_pr,
            )
        )
    except Exception as error:  # without a network, of the client's own library for HTTP
        raise CheckpointError(
            f"cannot upload to {repo_id!r}: {reason(error)}; log in with `hf auth login`, and "
            "check name and network"
        ) from error
