import pytest

from layalign.train.checkpoints import checkpoints, prune, write_checkpoint


def write(folder):
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text("x")


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
    assert [path.name for path in (tmp_path / "checkpoint-1").iterdir()] == ["other"]


def test_prune_keeps_the_last_and_the_best(tmp_path):
    for update in range(1, 6):
        write_checkpoint(tmp_path, update, write)
    (tmp_path / ".unfinished-checkpoint-6").mkdir()
    prune(tmp_path, keep=2, best=2)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    assert len(list(tmp_path.iterdir())) == 3


def test_no_folder_no_checkpoints(tmp_path):
    assert checkpoints(tmp_path / "none") == []
