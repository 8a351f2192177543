import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from embedded import miniature
from layalign.embedded.e5 import convert
from layalign.errors import DownloadError


@pytest.fixture
def folder(tmp_path):
    source, folder = tmp_path / "weights.bin", tmp_path / "converted"
    source.write_bytes(miniature.e5_bytes())
    folder.mkdir()
    convert(source, folder)
    return folder


def test_the_model_holds_the_written_values(folder):
    state = AutoModel.from_pretrained(folder, add_pooling_layer=False).state_dict()
    assert len(state) == len(miniature.tensor_shapes())
    for ours, theirs in {
        "l0.k.w": "encoder.layer.0.attention.self.key.weight",
        "l0.ao.b": "encoder.layer.0.attention.output.dense.bias",
        "l0.oln.w": "encoder.layer.0.output.LayerNorm.weight",
        "l0.fi.w": "encoder.layer.0.intermediate.dense.weight",
    }.items():
        torch.testing.assert_close(
            state[theirs], torch.from_numpy(miniature.values(ours)), rtol=0, atol=0
        )


def test_the_tokenizer_normalises_and_frames(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer("  a \u3000 bc ")["input_ids"] == [0, 4, 5, 6, 2]
    assert tokenizer("a\uff5e")["input_ids"] == [0, 4, 7, 2]  # kept: NFKC alone makes it "~"
    assert tokenizer("\uff41")["input_ids"] == [0, 4, 2]  # full-width a
    assert tokenizer.decode([4, 5, 6]) == "a bc"
    assert tokenizer.model_max_length == miniature.POSITIONS
    assert tokenizer.mask_token_id == 9


def test_an_unknown_tensor_is_an_error(tmp_path):
    source = tmp_path / "weights.bin"
    source.write_bytes(miniature.e5_bytes(rename={"l0.q.w": "l7.q.w"}))
    with pytest.raises(DownloadError, match=r"missing or unexpected tensors \['l0.q.w', 'l7.q.w'"):
        convert(source, tmp_path)
