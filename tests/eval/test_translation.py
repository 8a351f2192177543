import pytest

from layalign.data import Example
from layalign.errors import ConfigError, DataError
from layalign.eval import compare, evaluate, translation
from layalign.eval.export import to_csv, to_markdown

REFERENCES = [f"the cat sat on mat number {i}" for i in range(30)]


def examples() -> list[Example]:
    return [
        Example(text=f"paka {i}", language=tag, target=text, id=str(i))
        for tag in ("sw", "th")
        for i, text in enumerate(REFERENCES)
    ]


def test_without_sacrebleu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    with pytest.raises(ConfigError, match=r"pip install 'layalign\[eval\]'"):
        evaluate(None, examples(), metric="translation")  # type: ignore[arg-type]


@pytest.mark.usefixtures("sacrebleu")
class TestScores:
    def test_corpus_scores(self, sacrebleu: object) -> None:
        outputs = [text.replace("cat", "dog") for text in REFERENCES]
        scores = translation.translation_scores(outputs, REFERENCES)
        expected = sacrebleu.corpus_chrf(outputs, [REFERENCES]).score  # type: ignore[attr-defined]
        chrf, signature = scores["chrf"]
        assert chrf.value == pytest.approx(expected)
        assert chrf.low <= chrf.value <= chrf.high
        assert "version" in signature
        expected = sacrebleu.corpus_bleu(outputs, [REFERENCES]).score  # type: ignore[attr-defined]
        assert scores["bleu"][0].value == pytest.approx(expected)

    def test_perfect_and_empty(self) -> None:
        perfect = translation.translation_scores(REFERENCES, REFERENCES)
        assert perfect["chrf"][0].value == pytest.approx(100)
        empty = translation.translation_scores([""] * 30, REFERENCES)
        assert empty["chrf"][0].value == empty["bleu"][0].value == 0

    def test_in_an_evaluation(self, fake_system: type) -> None:
        ours = evaluate(fake_system(lambda e: f" {e.target}\n"), examples(), metric="translation")
        poor = fake_system(lambda e: "" if e.language == "th" else "the cat")
        bare = evaluate(poor, examples(), metric="translation")
        summary = compare(ours, bare)
        row = summary["languages"]["th"]
        assert row["layalign"]["chrf"] == pytest.approx(100)
        assert row["layalign"]["bleu"] == pytest.approx(100)
        assert row["bare"]["unparsed"] == 100
        assert row["gain"] == pytest.approx(100)
        average = summary["averages"]["all"]
        assert average["layalign"]["value"] == pytest.approx(100)
        half = summary["languages"]["sw"]["bare"]["chrf"] / 2
        assert average["gain"] == {"value": pytest.approx(100 - half), "low": None, "high": None}
        facts = {"version": 1, "template": {"name": "a", "version": 1}, "scoring": "generate"}
        tasks = {"translation": {**summary, **facts, "metric": "translation"}}
        assert "LayAlign chrF" in to_markdown(tasks)
        first = to_csv(tasks).splitlines()[1]
        assert first.startswith("translation,1,a,1,generate,translation,bare,sw,30,")


def test_a_target_is_needed(fake_system: type) -> None:
    pytest.importorskip("sacrebleu", reason="translations are scored by sacrebleu (extra eval)")
    with pytest.raises(DataError, match="no target; metric 'translation' needs the English text"):
        evaluate(fake_system(str), [Example(text="q", language="sw")], metric="translation")


@pytest.fixture
def sacrebleu() -> object:
    return pytest.importorskip(
        "sacrebleu", reason="translations are scored by sacrebleu (extra eval)"
    )
