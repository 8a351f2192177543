from pathlib import Path

import pytest

from factories import make_tokenizer
from layalign.data.tokens import counter
from layalign.errors import ConfigError
from layalign.model.tokenizers import load_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> str:
    make_tokenizer(specials=True).save_pretrained(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


def test_characters_without_a_model() -> None:
    assert counter(None)("แม่ 12") == 6


@pytest.mark.parametrize(("text", "count"), [("ana mayai 12", 4), ("", 0), ("ana " * 1000, 1000)])
def test_tokens_of_the_text_alone(folder: str, text: str, count: int) -> None:
    """No BOS and EOS, no limit of a model."""
    assert counter(folder)(text) == count
    specials = load_tokenizer(folder)(text)["input_ids"]
    assert len(specials) == count + 2


def test_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for model in (str(tmp_path / "empty"), str(tmp_path / "none")):
        with pytest.raises(ConfigError, match=r"cannot load a tokenizer from .*expected a folder"):
            counter(model)
