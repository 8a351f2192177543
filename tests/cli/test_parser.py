"""Types of arguments; what wrong usage gets is in the table of bad inputs."""

from __future__ import annotations

import argparse

import pytest

from layalign.cli.parser import comma_list, comma_numbers, positive, whole


def test_values() -> None:
    assert whole("12") == 12
    assert positive("2.5") == 2.5
    assert comma_list("sw, th") == ("sw", "th")
    assert comma_numbers("0,12") == (0, 12)


@pytest.mark.parametrize(
    ("read", "text"),
    [
        *((whole, text) for text in ("1.5", "-1", "²", "")),
        *((positive, text) for text in ("nan", "inf", "0", "x")),
        (comma_list, " , "),
        *((comma_numbers, text) for text in ("", "a", "1,-2", "²")),
    ],
)
def test_wrong_values(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        read(text)
