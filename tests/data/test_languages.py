import pytest

from layalign.data import check_language, language_name
from layalign.errors import DataError


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("sw", "sw"),
        ("SW", "sw"),
        (" swh ", "sw"),
        ("cmn", "zh"),
        ("iw", "he"),
        ("zh_hant", "zh-Hant"),
        ("pt-br", "pt-BR"),
        ("sr-latn-RS", "sr-Latn-RS"),
        ("es-419", "es-419"),
        ("prs", "fa-AF"),
        ("sh", "sr-Latn"),
        ("sh-Cyrl", "sr-Cyrl"),
    ],
)
def test_normalises(tag: str, expected: str) -> None:
    assert check_language(tag) == expected
    assert check_language(expected) == expected


@pytest.mark.parametrize(
    ("tag", "hint"),
    [
        ("swahilli", "'sw' (Swahili)"),
        ("English", "'en' (English)"),
        ("deutsch", "'de' (German)"),
        ("en_XX", "'en' (English)"),
        ("sw-Wxyz", "'sw' (Swahili)"),
        ("zh/CN", "did you mean"),
        ("shp", "did you mean"),
    ],
)
def test_unknown_suggests(tag: str, hint: str) -> None:
    with pytest.raises(DataError, match="unknown language") as error:
        check_language(tag)
    assert hint in str(error.value)
    assert "\n" not in str(error.value)


def test_nothing_to_suggest() -> None:
    with pytest.raises(DataError, match="unknown language ''"):
        check_language("")


@pytest.mark.parametrize(
    ("tag", "name"),
    [("sw", "Swahili"), ("zh-Hant", "Chinese (Traditional)"), ("pt-BR", "Portuguese (Brazil)")],
)
def test_names(tag: str, name: str) -> None:
    assert language_name(tag) == name
