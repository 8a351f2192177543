import errno
import os

import pytest

from layalign.durable import damage
from layalign.errors import CheckpointError, TrainingError
from layalign.train.checkpoints import checkpoints, newest_whole, prune, write_checkpoint
from layalign.train.record import DevResult, Record


def write(folder):
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text("x")
    Record().save(folder)


def names(folder):
    return [path.name for path in checkpoints(folder)]


def test_written_and_sorted_by_update(tmp_path):
    for update in (9, 10, 100):
        assert write_checkpoint(tmp_path, update, write).is_dir()
    assert names(tmp_path) == ["checkpoint-9", "checkpoint-10", "checkpoint-100"]


def test_half_written_is_not_there(tmp_path):
    write_checkpoint(tmp_path, 1, write)

    def fail(folder):
        write(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, 2, fail)
    assert names(tmp_path) == ["checkpoint-1"]
    write_checkpoint(tmp_path, 2, write)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2"]


def test_written_again(tmp_path):
    write_checkpoint(tmp_path, 1, write)
    write_checkpoint(tmp_path, 1, lambda folder: (folder / "other").write_text("y"))
    names = {path.name for path in (tmp_path / "checkpoint-1").iterdir()}
    assert names == {"other", "checksums.json"}


def test_prune_keeps_the_last_and_the_best(tmp_path):
    for update in range(1, 6):
        write_checkpoint(tmp_path, update, write)
    (tmp_path / ".unfinished-checkpoint-6").mkdir()
    prune(tmp_path, keep=2, best=2)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    assert len(list(tmp_path.iterdir())) == 3


def test_no_folder_no_checkpoints(tmp_path):
    assert checkpoints(tmp_path / "none") == []
    assert newest_whole(tmp_path / "none", keep_best=True) is None


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("unexpected pos 64")]
)
def test_a_full_disk_leaves_the_earlier_ones(tmp_path, error):
    write_checkpoint(tmp_path, 1, write)

    def fail(folder):
        write(folder)
        raise error

    with pytest.raises(TrainingError, match=r"cannot write .*checkpoint-2 \((No space|unexp)"):
        write_checkpoint(tmp_path, 2, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
    assert damage(tmp_path / "checkpoint-1") is None


def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, caplog):
    for update in (1, 2, 3):
        write_checkpoint(tmp_path, update, write)
    (tmp_path / "checkpoint-3" / "inner" / "file").write_text("y")
    (tmp_path / "checkpoint-2" / "record.json").unlink()
    assert newest_whole(tmp_path, keep_best=True) == tmp_path / "checkpoint-1"
    assert "checkpoint-3 is damaged (inner/file has another checksum" in caplog.text
    assert "record.json is missing" in caplog.text
    assert names(tmp_path) == ["checkpoint-1"]
    assert (tmp_path / "damaged-checkpoint-3" / "inner" / "file").is_file()


def test_without_a_whole_one_nothing_is_touched(tmp_path):
    for update in (1, 2):
        write_checkpoint(tmp_path, update, write)
        (tmp_path / f"checkpoint-{update}" / "inner" / "file").write_text("xx")
    with pytest.raises(CheckpointError, match=r"no checkpoint .* is whole .*2 bytes, expected 1"):
        newest_whole(tmp_path, keep_best=True)
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2"]


def test_the_best_one_has_to_be_whole_too(tmp_path):
    write_checkpoint(tmp_path, 1, write)
    record = Record(dev=[DevResult(update=1, loss=0.5)])
    write_checkpoint(tmp_path, 2, record.save)
    (tmp_path / "checkpoint-1" / "inner" / "file").unlink()
    with pytest.raises(CheckpointError, match="its best, checkpoint-1, is damaged"):
        newest_whole(tmp_path, keep_best=True)
    assert newest_whole(tmp_path, keep_best=False) == tmp_path / "checkpoint-2"
