"""Examples and where they come from: local files and the shipped word problems."""

from layalign.data.example import Example
from layalign.data.languages import check_language, language_name
from layalign.data.readers import read_bitext, read_jsonl
from layalign.data.sources import DataSource, load_examples
from layalign.data.word_problems import load_word_problems

__all__ = [
    "DataSource",
    "Example",
    "check_language",
    "language_name",
    "load_examples",
    "load_word_problems",
    "read_bitext",
    "read_jsonl",
]
