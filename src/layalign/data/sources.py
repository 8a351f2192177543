"""A data source as a recipe or the command line describes it, and how it becomes examples."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from layalign.data.example import Example
from layalign.data.languages import check_language
from layalign.data.readers import read_bitext, read_jsonl
from layalign.data.word_problems import Target, load_word_problems
from layalign.errors import ConfigError, DataError

NAMES = ("word_problems",)

_FORMATS = {".jsonl": "jsonl", ".tsv": "bitext"}


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where examples come from: a local file or a named set, with what to take from it.

    Raises:
        ConfigError: Fields that contradict each other, or an unknown name or format.
    """

    name: str | None = None
    """A set that layalign ships: ``"word_problems"``."""

    path: str | None = None
    """A local file, instead of ``name``."""

    format: str | None = None
    """``"jsonl"`` or ``"bitext"``; taken from the file's ending if not given."""

    split: str | None = None
    """Split of a named set: ``"train"``, ``"dev"`` or ``"test"``."""

    language: str | None = None
    """BCP-47 tag of the whole file, for a file that does not state it row by row."""

    languages: tuple[str, ...] | None = None
    """Keep these languages only."""

    columns: Mapping[str, str] | tuple[int, int] | None = None
    """The file's key of each field (jsonl), or the two column numbers (bitext)."""

    target: Target | None = None
    """What a named set gives as target: ``"english"`` or ``"reasoning"``."""

    limit: int | None = None
    """At most so many examples a language."""

    def __post_init__(self) -> None:
        """Check that the fields agree and normalise the language tags."""
        if (self.name is None) == (self.path is None):
            raise ConfigError("a data source needs either name or path, and not both")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, got {self.limit}")
        if self.languages is not None:
            tags = tuple(check_language(tag) for tag in self.languages)
            object.__setattr__(self, "languages", tags)
        if self.path is None:
            self._check_named()
        else:
            self._check_file(Path(self.path))

    def _check_named(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"unknown data set {self.name!r}; expected one of {', '.join(NAMES)}")
        if self.split is None:
            raise ConfigError(f"data set {self.name!r} needs a split: train, dev or test")
        self._refuse("format", "language", "columns", why=f"the data set {self.name!r}")

    def _check_file(self, path: Path) -> None:
        self._refuse("split", "target", why="a file")
        suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        found = self.format or _FORMATS.get(suffix)
        if found not in _FORMATS.values():
            raise ConfigError(
                f"{path}: cannot tell the format{f' {found!r}' if found else ''}; "
                "set format to 'jsonl' or 'bitext'"
            )
        object.__setattr__(self, "format", found)
        if found == "bitext" and self.language is None:
            raise ConfigError(f"{path}: bitext needs language, the BCP-47 tag of its texts")
        if self.columns is not None and isinstance(self.columns, Mapping) != (found == "jsonl"):
            raise ConfigError(
                f"{path}: columns must be a mapping for jsonl and two numbers for bitext, "
                f"got {self.columns!r} for {found}"
            )

    def _refuse(self, *fields: str, why: str) -> None:
        for field in fields:
            if getattr(self, field) is not None:
                raise ConfigError(f"{field} does not apply to {why}; remove it")


def load_examples(source: DataSource) -> list[Example]:
    """Load all examples of a source, in its order.

    Raises:
        DataError: A file cannot be read, or nothing is left of it.
        ConfigError: A setting of the source does not fit the data.
    """
    if source.name is not None:
        return load_word_problems(
            source.split or "",
            languages=source.languages,
            target=source.target,
            limit=source.limit,
        )
    examples = list(_select(_read(source), source.languages, source.limit))
    if not examples:
        raise DataError(
            f"{source.path}: no examples in {', '.join(source.languages or ())}; check languages"
        )
    return examples


def _read(source: DataSource) -> Iterator[Example]:
    path = source.path or ""
    if source.format == "bitext":
        columns = source.columns if isinstance(source.columns, tuple) else (0, 1)
        return read_bitext(path, language=source.language or "", columns=columns)
    mapping = source.columns if isinstance(source.columns, Mapping) else None
    return read_jsonl(path, columns=mapping, language=source.language)


def _select(
    examples: Iterable[Example], languages: tuple[str, ...] | None, limit: int | None
) -> Iterator[Example]:
    kept: Counter[str] = Counter()
    for example in examples:
        if languages is not None and example.language not in languages:
            continue
        if limit is not None and kept[example.language] >= limit:
            continue
        kept[example.language] += 1
        yield example
