import pytest

from embedded import miniature
from layalign.embedded.e5 import convert
from layalign.embedded.verify import Weights, verify
from layalign.errors import BackboneError

ROW = "embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    source = folder / "weights.bin"
    source.write_bytes(miniature.e5_bytes())
    convert(source, folder)
    return folder


def test_a_right_folder_passes(folder):
    verify(folder, miniature.facts())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"config": {"hidden_size": 33}}, "hidden_size is 32, expected 33"),
        ({"config": {"no_such_field": 1}}, "no_such_field is None, expected 1"),
        ({"special_ids": {"eos_token_id": 1}}, "eos_token_id is 2, expected 1"),
        ({"token_ids": {"a": (0, 5, 2)}}, r"token ids of 'a' is \[0, 4, 2\]"),
        ({"round_trips": ("a  b",)}, "is a b, expected a  b"),
        ({"digits_are_tokens": True}, "number of tokens in 1234567890 is 2, expected 10"),
        ({"n_tensors": 3}, "number of tensors is 21, expected 3"),
        ({"n_parameters": 3}, r"number of parameters is \d+, expected 3"),
        ({"weights": (Weights(tensor=ROW, row=4, values=(0.1, 0.2)),)}, f"row 4 of {ROW} is"),
        ({"cosines": {("a", "a"): 0.9}}, r"cosine of \('a', 'a'\) is 1.0, expected 0.9"),
    ],
)
def test_whatever_differs_is_named(folder, change, message):
    with pytest.raises(BackboneError, match=message):
        verify(folder, miniature.facts(**change))


def test_the_hubs_full_precision_weights_are_not_compared(folder):
    facts = miniature.facts(weights=(Weights(tensor=ROW, row=4, values=(9.0,)),))
    verify(folder, facts, converted=False)
