"""A data source as a recipe or the command line describes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from layalign.data.cleaning import Cleaning
from layalign.data.folders import ending
from layalign.data.formats import CORPORA, FORMATS
from layalign.data.languages import check_language
from layalign.data.templates import check_template
from layalign.data.word_problems import Target
from layalign.errors import ConfigError

NAMES = ("word_problems",)

_BY_ENDING = {
    **{".jsonl": "jsonl", ".json": "jsonl", ".csv": "csv", ".parquet": "parquet"},
    ".tsv": "bitext",
}


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Where examples come from, one of ``name``, ``path`` and ``hub``, and what to take from there.

    Raises:
        ConfigError: Fields that contradict each other, or an unknown name or format.
    """

    name: str | None = None
    """A set that layalign ships: ``"word_problems"``."""

    path: str | None = None
    """A local file, or a folder with a file or folder for each language."""

    hub: str | None = None
    """Id of a data set on the Hugging Face Hub, or a folder that ``datasets`` can load."""

    format: str | None = None
    """Name of a format, see :data:`layalign.data.FORMATS`; taken from a file's ending if not given.
    With ``hub`` that of a corpus, or None to read the columns that ``columns`` names."""

    subset: str | None = None
    """Configuration of a hub set, if it has several."""

    revision: str | None = None
    """Branch, tag or commit of a hub set."""

    split: str | None = None
    """Split of a named or hub set, such as ``"test"``; in a folder, the part of the files' names
    that chooses among several files of a language."""

    language: str | None = None
    """BCP-47 tag of the whole source, for one that does not state it row by row."""

    languages: tuple[str, ...] | None = None
    """Keep these languages only."""

    codes: Mapping[str, str] | None = None
    """BCP-47 tag of each language name, in rows or of a folder's files, that is none."""

    columns: Mapping[str, str] | tuple[int, int] | None = None
    """The column of each field (jsonl, csv, parquet, hub), or the two column numbers (bitext)."""

    target_path: str | None = None
    """The English file that ``path`` is aligned with (bitext_files)."""

    target: Target | None = None
    """What a named set gives as target: ``"english"`` or ``"reasoning"``."""

    template: str | None = None
    """What becomes the examples' text, see :func:`layalign.data.render`; None leaves it alone."""

    clean: Cleaning | None = None
    """Drop what these checks find; None for nothing."""

    limit: int | None = None
    """At most so many examples a language, of those that ``clean`` leaves."""

    def __post_init__(self) -> None:
        """Check that the fields agree and normalise the language tags."""
        if sum(place is not None for place in (self.name, self.path, self.hub)) != 1:
            raise ConfigError("a data source needs either name or path or hub, just one of them")
        if not self.label:
            raise ConfigError("a data source has an empty name, path or hub; say where the data is")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit must be at least 1, got {self.limit}")
        self._normalise()
        if self.name is not None:
            self._check_named()
        elif self.hub is not None:
            self._check_hub()
        else:
            self._check_path()
        if self.template is not None:
            check_template(self.template, FORMATS[self.format].parts if self.format else ())

    def _normalise(self) -> None:
        if self.languages is not None:
            tags = tuple(check_language(tag) for tag in self.languages)
            object.__setattr__(self, "languages", tags)
        if self.language is not None:
            object.__setattr__(self, "language", check_language(self.language))

    @property
    def label(self) -> str:
        """The name, path or data set id."""
        return self.name or self.path or self.hub or ""

    @property
    def is_folder(self) -> bool:
        """Whether ``path`` is a folder, or would be one."""
        path = Path(self.path or "")
        return path.is_dir() or not (path.suffix or path.is_file())

    def _check_named(self) -> None:
        if self.name not in NAMES:
            raise ConfigError(f"unknown data set {self.name!r}; expected one of {', '.join(NAMES)}")
        if self.split is None:
            raise ConfigError(f"data set {self.name!r} needs a split: train, dev or test")
        self._refuse(
            *("format", "language", "columns", "subset", "revision", "codes", "target_path"),
            why=f"the data set {self.name!r}",
        )

    def _check_hub(self) -> None:
        self._refuse("target", "target_path", why="a hub set")
        if self.split is None:
            raise ConfigError(f"hub set {self.hub!r} needs a split, such as 'train' or 'test'")
        if self.format is not None and self.format not in CORPORA:
            raise ConfigError(
                f"hub set {self.hub!r}: {self.format!r} is no format of a hub set; leave format "
                f"out and name the columns, or set it to one of {', '.join(CORPORA)}"
            )
        self._check_columns(self.hub or "")

    def _check_path(self) -> None:
        path = Path(self.path or "")
        self._refuse("target", "subset", "revision", why="a file")
        found = self.format or _BY_ENDING.get(ending(path))
        if found not in FORMATS:
            raise ConfigError(
                f"{path}: cannot tell the format{f' {found!r}' if found else ''}; "
                f"set format to one of {', '.join(map(repr, FORMATS))}"
            )
        object.__setattr__(self, "format", found)
        if self.is_folder:
            self._refuse("language", why="a folder, whose files' names say it")
        else:
            self._refuse("split", why="a file")
        if found in ("bitext", "bitext_files") and self.language is None and not self.is_folder:
            raise ConfigError(f"{path}: {found} needs language, the BCP-47 tag of its texts")
        if found in CORPORA and not self.is_folder and ending(path) not in FORMATS[found].endings:
            raise ConfigError(
                f"{path}: {found} is read from files that end in "
                f"{', '.join(FORMATS[found].endings)} (or that and .gz); rename the file"
            )
        if (found == "bitext_files") != (self.target_path is not None):
            raise ConfigError(
                f"{path}: target_path, the English file, goes with format 'bitext_files' and only "
                f"with it; the format is {found!r}"
            )
        self._check_columns(str(path))

    def _check_columns(self, where: str) -> None:
        if self.columns is None:
            return
        if self.format in (*CORPORA, "bitext_files"):
            self._refuse("columns", why=f"format {self.format!r}, whose columns are known")
        if isinstance(self.columns, Mapping) == (self.format == "bitext"):
            raise ConfigError(
                f"{where}: columns must be a mapping for jsonl, csv, parquet and hub sets, and two "
                f"numbers for bitext, got {self.columns!r} for {self.format or 'a hub set'}"
            )

    def _refuse(self, *fields: str, why: str) -> None:
        for field in fields:
            if getattr(self, field) is not None:
                raise ConfigError(f"{field} does not apply to {why}; remove it")
