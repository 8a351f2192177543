import pytest

from layalign.data.normal import contents
from layalign.data.scripts import foreign_share, usual_script


@pytest.mark.parametrize(
    ("text", "language", "script", "share"),
    [
        ("Привет", "ru", "Cyrl", 0),
        ("Hello", "ru", "Cyrl", 1),
        ("コンピューターと漢字", "ja", "Jpan", 0),
        ("한국어", "ko", "Kore", 0),
        ("漢字", "zh", "Hans", 0),
        ("漢字", "zh-TW", "Hant", 0),
        ("abя", "sr-Latn", "Latn", 1 / 3),
        ("سلام", "fa-AF", "Arab", 0),
        ("12 + 3", "th", "Thai", 0),
    ],
)
def test_scripts(text: str, language: str, script: str, share: float) -> None:
    assert usual_script(language) == script
    assert foreign_share(text, language) == pytest.approx(share)


def test_contents() -> None:
    assert contents("  \uff21na, 3 (three)!") == contents("ana 3 THREE") == "ana3three"
    assert contents("Ana 3", digits=False) == "ana"
    assert contents("कि") != contents("का")  # vowels that are marks
