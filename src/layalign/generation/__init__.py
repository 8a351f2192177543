"""Answers of a saved checkpoint: to a few texts, to a file of them, and in a conversation."""

from layalign.generation.answers import generate
from layalign.generation.chat import Chat
from layalign.generation.files import generate_file

__all__ = ["Chat", "generate", "generate_file"]
