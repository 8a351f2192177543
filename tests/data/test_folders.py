from pathlib import Path

import pytest

from layalign.data.folders import ending, language_files
from layalign.errors import ConfigError, DataError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path, **settings: object) -> dict[str, str]:
    settings = {"format": "mgsm", "endings": (".jsonl", ".tsv"), **settings}
    files = language_files(folder, **settings)  # type: ignore[arg-type]
    return {tag: path.relative_to(folder).as_posix() for path, tag in files}


@pytest.mark.parametrize(
    ("names", "settings", "expected"),
    [
        (["sw.jsonl", "zh-Hant.tsv"], {}, {"sw": "sw.jsonl", "zh-Hant": "zh-Hant.tsv"}),
        (["sw.jsonl.gz", "README.md", ".x.tsv"], {}, {"sw": "sw.jsonl.gz"}),
        (["mgsm_sw.tsv", "mgsm_th.tsv"], {}, {"sw": "mgsm_sw.tsv", "th": "mgsm_th.tsv"}),
        (["test.sw.jsonl", "val.sw.jsonl"], {"split": "val"}, {"sw": "val.sw.jsonl"}),
        (["sw/test.jsonl"], {}, {"sw": "sw/test.jsonl"}),
        (["sw/test.sw.jsonl", "sw/val.sw.jsonl"], {"split": "test"}, {"sw": "sw/test.sw.jsonl"}),
        (["sw/test.jsonl", "th/dev.jsonl"], {"split": "dev"}, {"th": "th/dev.jsonl"}),
        (["swh/a.jsonl"], {}, {"sw": "swh/a.jsonl"}),
        (
            ["test_Thai.jsonl"],
            {"split": "test", "codes": {"Thai": "th"}},
            {"th": "test_Thai.jsonl"},
        ),
        (["x1.tsv"], {"codes": {"x1": "tha"}}, {"th": "x1.tsv"}),
        (["flags.tsv", "sw.tsv", "th.tsv"], {"languages": ("th",)}, {"th": "th.tsv"}),
    ],
)
def test_names(tmp_path: Path, names: list[str], settings: dict, expected: dict) -> None:
    assert found(make(tmp_path, *names), **settings) == expected


@pytest.mark.parametrize(
    ("names", "settings", "error", "message"),
    [
        (["flags.tsv", "sw.tsv"], {}, DataError, "flags.tsv: unknown language 'flags'"),
        (["flags.tsv"], {}, DataError, "map the name with codes {'flags': …}"),
        (["sw.tsv", "swh.tsv"], {}, DataError, "are both of language 'sw'; keep one"),
        (["sw.tsv", "sw.tsv.gz"], {}, DataError, "are both of language 'sw'; keep one"),
        (["sw/a.tsv", "sw/b.tsv"], {}, ConfigError, "holds several files, a.tsv, b.tsv; set split"),
        (["sw.tsv"], {"split": "test"}, DataError, "no file of split 'test'"),
        (["sw.tsv"], {"languages": ("th",)}, DataError, "no file in th that ends in"),
        (["a.txt"], {}, DataError, "the folder holds a.txt"),
        ([], {}, DataError, "the folder holds nothing"),
    ],
)
def test_bad_folders(
    tmp_path: Path, names: list[str], settings: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        found(make(tmp_path, *names), **settings)
    assert message in str(raised.value)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        found(tmp_path / "nowhere")


def test_ending() -> None:
    assert [ending(Path(n)) for n in ("a.b.tsv", "a.json.gz", "a", "a.gz")] == [
        ".tsv",
        ".json",
        "",
        "",
    ]
