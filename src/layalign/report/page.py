"""Write the page: what was read, as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layalign import __version__
from layalign.errors import ConfigError
from layalign.eval.report import check_output, write_text
from layalign.report import charts
from layalign.report.examples import examples_of
from layalign.report.merging import merged
from layalign.report.reading import read_folder
from layalign.report.records import Contents, Figure, Run
from layalign.report.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

REPORT_NAME = "report.html"
TITLE = "layalign report"
# What tells our own page from any other file; stands near its beginning.
_MARK = '<meta name="generator" content="layalign report">'
_GROUPS = {
    "all": "All languages",
    "non_english": "All but English",
    "trained": "Trained languages",
    "never_trained": "Never trained",
}


def write_report(
    folders: Sequence[str | PathLike[str]],
    *,
    output: str | PathLike[str] | None = None,
    title: str | None = None,
) -> Path:
    """Write one HTML file about runs, evaluations and comparisons, in any mixture.

    The file loads nothing, from the network or from anywhere else. Scores on the same questions
    come into one table.

    Args:
        folders: Of ``layalign train``, ``layalign evaluate --output`` or ``layalign compare``.
        output: Where the page goes; ``report.html`` in the first folder by default. An earlier
            report is replaced, any other file is not.
        title: Heading of the page; ``layalign report`` by default.

    Returns:
        The path of the page.

    Raises:
        ConfigError: A folder is missing or holds nothing of ours, the output is another file, or
            jinja2 is not installed.
        DataError: A file is damaged.
    """
    environment = _environment()
    if not folders:
        raise ConfigError("there is no folder to report on; give at least one")
    # Of a folder that is named twice, in whichever way, the last name counts.
    places = list({os.path.realpath(folder): os.fspath(folder) for folder in folders}.values())
    path = Path(places[0]) / REPORT_NAME if output is None else Path(output)
    found = [read_folder(place) for place in places]
    _check_free(check_output(path))
    words = ["layalign", "report", *places, "--output", str(path)]
    words += [] if title is None else ["--title", title]
    write_text(path, _render(environment, found, title or TITLE, shlex.join(words)))
    return path


def _environment() -> Environment:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ConfigError(
            "jinja2 is not installed; run pip install 'layalign[analysis]'"
        ) from error
    environment = Environment(
        loader=PackageLoader("layalign.report", "template"),
        autoescape=True,
        finalize=visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters.update(
        number=_number,
        signed=_signed,
        interval=_interval,
        probability=_probability,
        count=_count,
        group=_group,
    )
    return environment


def _check_free(path: Path) -> None:
    """See that nobody else's file is lost.

    Raises:
        ConfigError: There is a file, and it is no report.
    """
    if not path.exists():
        return
    try:
        with path.open("rb") as file:
            is_own = _MARK.encode() in file.read(2048)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    if not is_own:
        raise ConfigError(f"{path} is not a report of layalign; choose another output")


def _render(environment: Environment, found: Iterable[Contents], title: str, command: str) -> str:
    contents = tuple(found)
    scores = merged(tuple(part for content in contents for part in content.scores))
    runs = {run.name: run for content in contents for run in content.runs}
    commands = dict.fromkeys(c for content in contents for c in content.commands)
    versions = {
        name: sorted({content.versions[name] for content in contents if name in content.versions})
        for name in dict.fromkeys(name for content in contents for name in content.versions)
    }
    style, script = (_source(environment, name) for name in ("style.css", "script.js"))
    return environment.get_template("page.html").render(
        title=title,
        mark=_safe(_MARK),
        version=__version__,
        style=_safe(style),
        script=_safe(script),
        policy=_policy(style, script),
        scores=scores,
        runs=[_run_context(run) for run in runs.values()],
        examples=[made for part in scores if (made := examples_of(part)) is not None],
        commands=[*commands, command],
        versions=versions,
        charts=charts,
    )


def _run_context(run: Run) -> dict[str, Any]:
    """A run with its charts."""
    context: dict[str, Any] = {
        "run": run,
        "losses": {name: charts.line_chart(curve) for name, curve in run.stages.items()},
        "gates": None,
        "maps": {},
    }
    weights = run.weights
    if weights is not None and weights.keys is not None and weights.values is not None:
        mixing = {"keys": weights.keys.tolist(), "values": weights.values.tolist()}
        context["gates"] = charts.gate_chart(weights.language_layers, weights.gates)
        largest = charts.largest_weight(*mixing.values())
        context["maps"] = {
            name: charts.heat_map(weights, rows, largest) for name, rows in mixing.items()
        }
    return context


def _source(environment: Environment, name: str) -> str:
    """A style sheet or script as it is shipped."""
    loader = environment.loader
    assert loader is not None
    return loader.get_source(environment, name)[0]


def _policy(style: str, script: str) -> str:
    """Allow exactly our own style sheet and script, and no connection."""
    return (
        f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # our own files, nothing that was read


def _number(value: float, digits: int = 1) -> str:
    rounded = round(value, digits) + 0.0  # which makes 0 of -0
    return f"{rounded:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "\N{MINUS SIGN}")


def _probability(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _interval(figure: Figure, *, signed: bool = False) -> str:
    """The interval in brackets; nothing where there is none."""
    if figure.low is None or figure.high is None:
        return ""
    write = _signed if signed else _number
    return f"[{write(figure.low)}, {write(figure.high)}]"


def _group(name: str) -> str:
    return _GROUPS.get(name, name.replace("_", " ").capitalize())


def _count(value: float) -> str:
    return f"{value:,.0f}"
