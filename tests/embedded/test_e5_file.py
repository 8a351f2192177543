import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedded import miniature
from layalign.embedded.e5_file import read_e5, unpack_q4
from layalign.errors import DownloadError


@pytest.fixture
def write(tmp_path):
    def write(content: bytes) -> Path:
        path = tmp_path / "weights.bin"
        path.write_bytes(content)
        return path

    return write


def test_reads_geometry_and_pieces(write):
    file = read_e5(write(miniature.e5_bytes()))
    assert file.header[:7] == (32, 1, 2, 64, 16, 24, 2)
    assert file.header[-4:] == (0, 2, 1, 3)
    assert file.pieces == list(zip(miniature.PIECES, miniature.SCORES, strict=True))


@pytest.mark.parametrize("name", ["emb.word", "emb.pos", "l0.aln.w", "l0.fo.w"])
def test_reads_exactly_the_values_that_were_written(write, name):
    file = read_e5(write(miniature.e5_bytes()))
    expected = miniature.values(name)
    np.testing.assert_array_equal(file.tensor(name, expected.shape), expected)


def test_a_tensor_of_another_size_is_an_error(write):
    file = read_e5(write(miniature.e5_bytes()))
    with pytest.raises(DownloadError, match=r"emb\.word has 512 values, expected 480"):
        file.tensor("emb.word", (15, 32))


@given(
    scale=st.floats(-8, 8, width=16),
    data=st.binary(min_size=16, max_size=16),
)
def test_unpacks_4_bit_values_as_the_formula_says(scale, data):
    expected = [scale * ((data[j] & 15) - 8) for j in range(16)]
    expected += [scale * ((data[j] >> 4) - 8) for j in range(16)]
    found = unpack_q4(struct.pack("<e", scale) + data)
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_cut_file_is_an_error_wherever_it_is_cut(write, share):
    content = miniature.e5_bytes()
    end = len(content.rstrip(b"\0"))  # what follows the last tensor is only padding
    with pytest.raises(DownloadError, match="is damaged"):
        read_e5(write(content[: int(share * end)]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"magic": b"GGUF"}, "expected magic"),
        ({"version": 2}, "version 1, got"),
        ({"group": 64}, "expected groups of 32 values, got 64"),
        ({"heads": 5}, "sizes .* are not possible"),
        ({"heads": 0}, "sizes .* are not possible"),
        ({"specials": (0, 2, 1, 10)}, "special ids .* outside the 10 pieces"),
        ({"pieces": [*miniature.PIECES[:-1], "c"]}, "pieces repeat"),
        ({"shift": 10_000_000}, "past the end"),
        ({"kind": 7}, "of kind 7"),
    ],
)
def test_damage_is_named(write, damage, message):
    with pytest.raises(DownloadError, match=message):
        read_e5(write(miniature.e5_bytes(**damage)))


def test_text_that_is_not_utf8_is_an_error(write):
    content = miniature.e5_bytes().replace("\uff5e".encode(), b"\xff\xfe\xfd")
    with pytest.raises(DownloadError, match="a piece is not UTF-8"):
        read_e5(write(content))


def test_pieces_out_of_order_are_an_error(write):
    content = bytearray(miniature.e5_bytes())
    struct.pack_into("<I", content, 72 + 4 * 3, 1)
    with pytest.raises(DownloadError, match="do not fill the piece text in order"):
        read_e5(write(bytes(content)))
