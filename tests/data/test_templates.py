import pytest

from layalign.data import Example
from layalign.data.templates import render
from layalign.errors import ConfigError

EXAMPLE = Example(
    text="what {x}?", language="en", choices=("river", "bank"), parts={"stem": "the {text}"}
)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Q: {question} {text}", "Q: what {x}? what {x}?"),
        ("{stem}: {choices} ({label_list})", "the {text}: A. river\nB. bank (A, B)"),
        ("{{text}}", "{text}"),
    ],
)
def test_render(template: str, expected: str) -> None:
    assert render(template, EXAMPLE) == expected


@pytest.mark.parametrize("template", ["{premise}", "{", "{}"])
def test_wrong_templates(template: str) -> None:
    with pytest.raises(ConfigError, match="template"):
        render(template, EXAMPLE)
