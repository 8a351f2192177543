"""Find the files of a folder that holds one language each, as benchmarks are shipped."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from layalign.data.languages import check_language
from layalign.errors import ConfigError, DataError


def ending(path: Path) -> str:
    """The ending that tells a file's kind: ``".jsonl"`` of ``sw.jsonl`` and ``sw.jsonl.gz``."""
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def language_files(
    folder: Path,
    *,
    format: str,
    endings: Collection[str],
    split: str | None = None,
    codes: Mapping[str, str] | None = None,
    languages: Collection[str] | None = None,
) -> list[tuple[Path, str]]:
    """List the file of every language with its tag, in the order of the names.

    A language has a file or a folder: ``sw.jsonl``, ``sw.jsonl.gz``, ``mgsm_sw.tsv``,
    ``test.sw.jsonl``, ``sw/test.jsonl``. Its name is what is left of a file's when format, split
    and ending are taken off.

    Args:
        folder: Where to look.
        format: Name of the format, which may stand in the names.
        endings: Of the files that the format reads; others do not matter.
        split: Stands in the names of the files wanted; files without it do not matter.
        codes: The BCP-47 tag of each name that is none.
        languages: Tags wanted; other names do not matter, not even if they are no language's.

    Raises:
        DataError: A name is no language, a language has two files, or no file is left.
        ConfigError: A language has several files, and no split that chooses.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such file or folder; check the path")
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        files = _files(entry, endings, split)
        tag = _tag(entry, _name(entry, format, split), codes or {}, languages) if files else None
        if tag is None or (languages is not None and tag not in languages):
            continue
        if len(files) > 1 and split is None:
            raise ConfigError(
                f"{entry} holds several files, {_names(files)}; set split to the part of a name "
                "that chooses one"
            )
        for file in files:
            if other := found.get(tag):
                raise DataError(
                    f"{other} and {file} are both of language {tag!r}; keep one, "
                    "or choose others with languages"
                )
            found[tag] = file
    if not found:
        raise _nothing(folder, endings, split, languages)
    return [(file, tag) for tag, file in found.items()]


def _files(entry: Path, endings: Collection[str], split: str | None) -> list[Path]:
    """The files wanted that an entry of the folder is, or holds."""
    files = sorted(entry.iterdir()) if entry.is_dir() else [entry]
    return [
        file
        for file in files
        if file.is_file() and not file.name.startswith(".") and ending(file) in endings
        if split is None or split in name_words(file)
    ]


def _name(entry: Path, format: str, split: str | None) -> str:
    if entry.is_dir():
        return entry.name
    words = [word for word in name_words(entry) if word not in (format, split)]
    return "_".join(words) or entry.name


def name_words(file: Path) -> list[str]:
    """Parts of a file's name between points and underscores, its ending left off."""
    return re.split(r"[._]", file.name.removesuffix(".gz").removesuffix(ending(file)))


def _tag(
    entry: Path, name: str, codes: Mapping[str, str], languages: Collection[str] | None
) -> str | None:
    """The language that a name stands for; None if it is none and does not matter."""
    try:
        return check_language(codes.get(name, name))
    except DataError as error:
        if languages is not None:
            return None
        raise DataError(
            f"{entry}: {error}; map the name with codes {{{name!r}: …}}, take it apart with split, "
            "or choose the files with languages"
        ) from error


def _nothing(
    folder: Path, endings: Collection[str], split: str | None, languages: Collection[str] | None
) -> DataError:
    wanted = f" of split {split!r}" if split else ""
    chosen = f" in {', '.join(languages)}" if languages else ""
    return DataError(
        f"{folder}: no file{wanted}{chosen} that ends in {' or '.join(sorted(endings))} (or that "
        f"and .gz); the folder holds {_names(sorted(folder.iterdir())) or 'nothing'}"
    )


def _names(paths: list[Path]) -> str:
    names = [path.name for path in paths]
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
