"""``layalign export``: write a checkpoint as a folder to give away, and upload it."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    help_ = "write a checkpoint as a folder to give away, with a model card, and upload it"
    parser = subparsers.add_parser("export", help=help_, description=help_)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="folder, hub id or a shipped one")
    parser.add_argument("folder", metavar="FOLDER", help="new or empty")
    parser.add_argument(
        "--backbones",
        action="store_true",
        help="put both backbones inside: the folder then needs nothing else",
    )
    parser.add_argument(
        "--merge-lora",
        action="store_true",
        help="with --backbones, add a LoRA trained with the rest to the language model's weights",
    )
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32"), help="of the numbers written"
    )
    parser.add_argument(
        "--licence", metavar="NAME", help="of the trained parameters, such as apache-2.0"
    )
    parser.add_argument(
        "--push-to-hub", metavar="USER/NAME", help="upload the folder to the Hugging Face Hub"
    )
    parser.add_argument(
        "--private", action="store_true", help="if --push-to-hub creates a repository"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.private and args.push_to_hub is None:
        args.parser.error("--private needs --push-to-hub")
    import torch

    from layalign.publishing import export

    folder = export(
        args.checkpoint,
        args.folder,
        backbones=args.backbones,
        merge=args.merge_lora,
        dtype=args.dtype and getattr(torch, args.dtype),
        name=args.push_to_hub,
        licence=args.licence,
    )
    print(folder)
    if args.push_to_hub is not None:
        print(_upload(folder, args.push_to_hub, private=args.private))
    return 0


def _upload(folder: Path, repo_id: str, *, private: bool) -> str:
    """Upload the folder; if that fails, say how it is done without writing the folder again."""
    from layalign.errors import CheckpointError
    from layalign.model.hub import upload

    try:
        return upload(folder, repo_id, private=private or None)
    except CheckpointError as error:
        again = shlex.join(
            ["hf", "upload", repo_id, str(folder), *(["--private"] if private else [])]
        )
        raise CheckpointError(f"{error}; {folder} is complete: upload it with {again}") from error
