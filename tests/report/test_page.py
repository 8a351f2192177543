from __future__ import annotations

import html
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import make_model
from layalign.analysis.weights import read_weights
from layalign.cli.main import main
from layalign.errors import ConfigError
from layalign.report import write_report
from layalign.report.text import visible
from report_folders import HOSTILE, write, write_results


class Reader(HTMLParser):
    """The tags of a page, and the content of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def read(path: Path) -> Reader:
    return Reader(path.read_text("utf-8"))


def test_everything_is_there(comparison: Path, run: Path, results: Path) -> None:
    path = write_report([comparison, run, results], title="Ours & theirs")
    assert path == comparison / "report.html"
    page = read(path)
    assert not page.open  # every tag is closed in its place
    assert "Ours & theirs" in page.text
    for words in ("MindMerger", "worse", "1,234,567", "layalign compare tiny.yaml", "Swahili"):
        assert words in page.text
    assert [tag for tag, _ in page.tags].count("svg") > 8
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert set((attrs.get(name) or "").split()) <= set(ids)
        if (attrs.get("href") or "").startswith("#"):
            assert (attrs["href"] or "")[1:] in ids


def test_nothing_is_loaded(comparison: Path) -> None:
    page = read(write_report([comparison]))
    for _, attrs in page.tags:
        assert not {"src", "srcset", "data", "action", "style"} & set(attrs)
        assert not any(name.startswith("on") for name in attrs)
        assert (attrs.get("href") or "#").startswith("#")
    (policy,) = (a["content"] for t, a in page.tags if a.get("http-equiv"))
    assert "default-src 'none'" in (policy or "")
    assert "unsafe" not in (policy or "")


def test_tables_say_what_they_hold(comparison: Path) -> None:
    tags = read(write_report([comparison])).tags
    assert sum(t == "table" for t, _ in tags) == sum(t == "caption" for t, _ in tags)
    assert all(attrs.get("scope") for tag, attrs in tags if tag == "th")


def test_regions_have_names_of_their_own(
    comparison: Path, run: Path, results: Path, checkpoint: Path, tmp_path: Path
) -> None:
    other = write_results(tmp_path / "other", ours=40, limit=3)
    page = read(write_report([comparison, run, results, other, checkpoint]))
    regions = [attrs for _, attrs in page.tags if attrs.get("role") == "region"]
    labels = [attrs["aria-label"] for attrs in regions]
    assert all(labels)
    assert len(labels) == len(set(labels))
    # A name is read out only of what has a role.
    for tag, attrs in page.tags:
        if tag in ("pre", "div", "span") and "aria-label" in attrs:
            assert attrs.get("role")


def test_what_costs_are(comparison: Path) -> None:
    text = " ".join(read(write_report([comparison])).text.split())
    for words in ("leaves out the shared fine-tune", "of the last stage", "the whole process"):
        assert words in text
    assert "Translations" not in text
    values = json.loads((comparison / "comparison.json").read_text("utf-8"))
    values["methods"]["mindmerger"]["cost"]["translation_seconds"] = 150.0
    write(comparison / "comparison.json", values)
    text = " ".join(read(write_report([comparison])).text.split())
    assert "Training, minutes Translations, minutes Tokens" in text
    assert "1.5 2.5 101" in text


def test_averages_that_are_not_known(results: Path, tmp_path: Path) -> None:
    """Of a group that another folder does not have."""
    values = json.loads((results / "results.json").read_text("utf-8"))
    averages = values["tasks"]["mgsm"]["averages"]
    averages["low_resource"] = {**averages["all"], "languages": ["sw"]}
    write(results / "results.json", values)
    other = write_results(tmp_path / "other", ours=50)
    page = write_report([results, other]).read_text("utf-8")
    assert page.count("not known") == 1


def test_losses_as_a_table(run: Path) -> None:
    """Every row has all columns, and the first loss of the description is the first mean."""
    text = write_report([run]).read_text("utf-8")
    table = re.search(r"<table>\s*<caption>Losses.*?</table>", text, re.S)
    assert table is not None
    rows = re.findall(r"<tr>(.*?)</tr>", table[0], re.S)
    assert len(rows) == 12  # the last development loss stands beside the last point
    assert {len(re.findall("<t[hd]", row)) for row in rows} == {3}
    first = (4 + 4 / 2 + 4 / 3) / 3
    assert f"From {first:.3f} to 0.010 nats" in text


def test_hostile_text_stays_text(run: Path) -> None:
    """In the data, in labels, in the recipe: nothing of it becomes a tag or a script."""
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    summary["evaluation"]["languages"]["sw"]["name"] = HOSTILE
    summary["stages"][HOSTILE] = summary["stages"]["task"]
    summary["versions"][HOSTILE] = HOSTILE
    summary["system"] = "layalign"
    write(run / "summary.json", summary)
    (run / "recipe.yaml").write_text(f"model: {{encoder: {json.dumps(HOSTILE)}}}\n", "utf-8")
    path = write_report([run], title=HOSTILE)
    raw, page = path.read_text("utf-8"), read(path)
    assert not page.open
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "img" not in {tag for tag, _ in page.tags}
    assert "\u202e" not in raw
    assert "\x00" not in raw
    (examples,) = json.loads(page.scripts[0])
    outputs = [answer[1] for item in examples["items"] for answer in item["answers"]]
    assert any(output.endswith(visible(HOSTILE)) for output in outputs)
    assert visible(HOSTILE) in page.text


@given(st.text(st.characters(codec=None), max_size=40))
def test_any_text_can_be_written(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", shown)
    assert visible(shown) == shown


def test_ordinary_text_is_left_alone() -> None:
    for text in ("\u062a\u0627\u200c 3\u200f", "กี่ผล\n", "👩\u200d👧", "a\tb"):
        assert visible(text) == text
    assert visible("a\r\nb\rc") == "a\nb\nc"
    assert visible(3) == 3


def test_earlier_report_is_replaced(run: Path) -> None:
    first = write_report([run], title="first")
    assert write_report([run], title="second") == first
    assert "second" in first.read_text("utf-8")


@pytest.mark.parametrize("content", ["<!doctype html><p>mine</p>", "", "\x00"])
def test_other_files_are_not(run: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.html"
    path.write_text(content, "utf-8")
    with pytest.raises(ConfigError, match="is not a report of layalign"):
        write_report([run], output=path)
    assert path.read_text("utf-8") == content


def test_output_is_a_folder(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        write_report([run], output=tmp_path)


def test_without_jinja(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ConfigError, match=r"pip install 'layalign\[analysis\]'"):
        write_report([run])


def test_no_folder() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        write_report([])


def test_same_input_same_page(run: Path, tmp_path: Path) -> None:
    texts = [write_report([run, run], output=tmp_path / "a.html").read_bytes() for _ in range(2)]
    assert texts[0] == texts[1]


def test_weights_are_drawn(checkpoint: Path) -> None:
    text = write_report([checkpoint]).read_text("utf-8")
    for words in ("Gates", "Mixing weights for keys", "Mixing weights for values"):
        assert words in text
    assert "Layers count from 0; of the LLM only the fused ones are shown." in text
    assert "mean of the heads" not in text
    weights = read_weights(checkpoint)
    assert weights.gate == "scalar"
    assert weights.keys is not None
    assert f"<td>{weights.keys[0, 0]:.3f}</td>".replace("-", "\u2212") in text


def test_gates_of_heads_are_means(tmp_path: Path) -> None:
    make_model(gate_kind="head").save_pretrained(tmp_path)
    write(tmp_path / "summary.json", {"stages": {}})
    text = write_report([tmp_path]).read_text("utf-8")
    assert "Gates, mean of the heads" in text
    assert read_weights(tmp_path).gate == "head"


@pytest.mark.parametrize(("p", "shown"), [(0.0001, "< 0.001"), (0.0312, "0.031"), (None, "")])
def test_probabilities(comparison: Path, p: float | None, shown: str) -> None:
    values = json.loads((comparison / "comparison.json").read_text("utf-8"))
    row = {
        "value": -0.04,
        "low": -1,
        "high": 1,
        "p": p,
        "p_corrected": 0.5,
        "verdict": "within noise",
    }
    values["methods"]["base"]["versus"]["averages"] = {"all": row}
    write(comparison / "comparison.json", values)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", write_report([comparison]).read_text("utf-8"))
    place = cells.index("+0.0 <small>[\u22121.0, +1.0]</small>")
    assert cells[place + 1 : place + 4] == [html.escape(shown), "0.500", "within noise"]


def test_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--title", "Mine", "--quiet"]) == 0
    path = run / "report.html"
    assert capsys.readouterr().out == f"{path} ({path.stat().st_size / 1e6:.1f} MB)\n"
    assert html.escape(f"layalign report {run} --output {path} --title Mine") in path.read_text(
        "utf-8"
    )


@pytest.mark.parametrize("extra", [[], ["--output", "mine.html"]])
def test_command_fails_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[Any]
) -> None:
    assert main(["report", str(tmp_path), *extra]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
