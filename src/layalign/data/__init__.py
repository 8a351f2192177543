"""Examples and where they come from: files, the Hugging Face Hub and the shipped word problems."""

from layalign.data.cleaning import REASONS, Cleaning
from layalign.data.example import Example
from layalign.data.formats import FORMATS
from layalign.data.language_codes import language_codes
from layalign.data.languages import check_language, language_name
from layalign.data.leaks import LeakGuard
from layalign.data.loading import iter_examples, load_examples
from layalign.data.mixing import Mixing, mix
from layalign.data.readers import read_bitext, read_jsonl
from layalign.data.sources import DataSource
from layalign.data.survey import print_survey, survey
from layalign.data.tables import ExampleTable, hold
from layalign.data.templates import render
from layalign.data.word_problems import load_word_problems

__all__ = [
    "FORMATS",
    "REASONS",
    "Cleaning",
    "DataSource",
    "Example",
    "ExampleTable",
    "LeakGuard",
    "Mixing",
    "check_language",
    "hold",
    "iter_examples",
    "language_codes",
    "language_name",
    "load_examples",
    "load_word_problems",
    "mix",
    "print_survey",
    "read_bitext",
    "read_jsonl",
    "render",
    "survey",
]
