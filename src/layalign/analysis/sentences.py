"""Sentences with their English translations: what an analysis reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layalign.data import DataSource
from layalign.data.folders import ending
from layalign.data.loading import load_examples
from layalign.errors import DataError

ENGLISH_FILES = ("eng.txt", "en.txt")
WORD_PROBLEMS = "word_problems"


@dataclass(frozen=True, kw_only=True)
class Bitext:
    """Sentences of a language, each with its English translation."""

    language: str
    """BCP-47 tag."""

    texts: list[str]
    """The sentences."""

    english: list[str]
    """Their translations, in the same order."""


def sentence_source(**settings: Any) -> DataSource:
    """Say how sentences are read, as far as that can be seen.

    Args:
        **settings: Of :class:`layalign.data.DataSource`; None is as good as absent. Without a place
            the shipped word problems (``test``) are read. A folder with an English file,
            ``eng.txt`` or ``en.txt``, is taken as files aligned with it line by line, any other one
            with ``.tsv`` files as bitext.

    Raises:
        ConfigError: The settings contradict each other, or more of them are needed.
        DataError: There is no such file or folder.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if not {"name", "path", "hub"} & given.keys():
        given["name"] = WORD_PROBLEMS
    if given.get("name") == WORD_PROBLEMS:
        given = {"split": "test", "target": "english"} | given
    elif "path" in given:
        path = Path(given["path"])
        if not path.exists():
            raise DataError(f"{path}: no such file or folder with sentences; check the path")
        if "format" not in given and path.is_dir():
            given |= _form(path)
    return DataSource(**given)


def _form(folder: Path) -> dict[str, str]:
    for name in ENGLISH_FILES:
        if (folder / name).is_file():
            return {"target_path": str(folder / name), "format": "bitext_files"}
    if any(ending(file) == ".tsv" for file in folder.iterdir()):
        return {"format": "bitext"}
    return {}


def load_bitexts(source: DataSource) -> list[Bitext]:
    """Load the sentences of every language but English, in the order of the languages wanted.

    Raises:
        DataError: There is no language but English, a sentence has no English translation, or a
            language wanted is not there.
        ConfigError: A setting of the source does not fit the data.
    """
    texts: dict[str, list[str]] = {}
    english: dict[str, list[str]] = {}
    for example in load_examples(source):
        if example.language == "en":
            continue
        if example.target is None:
            raise DataError(
                f"{source.label}: {example.text[:40]!r} in {example.language} has no English "
                "translation; name the column that holds it with columns target=COLUMN"
            )
        texts.setdefault(example.language, []).append(example.text)
        english.setdefault(example.language, []).append(example.target)
    wanted = [tag for tag in source.languages or texts if tag != "en"]
    if missing := [tag for tag in wanted if tag not in texts]:
        raise DataError(
            f"{source.label}: no sentences in {', '.join(missing)}; found "
            f"{', '.join(sorted(texts)) or 'none'}; choose others with languages"
        )
    if not wanted:
        raise DataError(
            f"{source.label}: only English sentences; expected a language to compare with English"
        )
    return [Bitext(language=tag, texts=texts[tag], english=english[tag]) for tag in wanted]
