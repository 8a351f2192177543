"""Training on more examples than the process may have in memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from factories import make_encoder, make_language_model, make_tokenizer

resource = pytest.importorskip("resource", reason="limits of memory are those of Unix")
pytest.importorskip("datasets", reason="needs the data extra")

MIB = 2**20
ROW = 10_000  # characters
DATA = 160 * MIB
ROOM = 125 * MIB
"""What the process may take beside what it has after a small run: more than the examples that are
held in memory, less than all of them."""

# RLIMIT_DATA counts what a process writes to: Python's objects, but not files that are mapped to be
# read. (RLIMIT_AS counts these too, and far more than is ever in memory.)
PROGRAM = """
import re, resource, sys
from pathlib import Path
import layalign.data.tables as tables
from layalign.train import Recipe, run_recipe

folder, where, room = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])

def run(name):
    return run_recipe(Recipe.from_dict({
        "output_dir": str(folder / where / name),
        "model": {n: str(folder / n) for n in ("encoder", "language_model")},
        "processor": {"target_max_length": 16},
        "data": {"translation": {"train": [{"path": str(folder / name), "language": "sw"}]}},
        "stage": {"translation": {"batch_size": 4, "max_updates": 5}},
    }))

default, tables.MEMORY = tables.MEMORY, 0
run("small.tsv")
tables.MEMORY = default
if where == "memory":
    sys.modules["datasets"] = None
used = re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
limit = int(used) * 1024 + room
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
print("updates:", run("large.tsv").stages["translation"]["updates"])
"""


def write_bitext(path: Path, size: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        for number in range(size // ROW):
            file.write(f"tatu mbili {number}\tthree two {number} {'a' * ROW}\n")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_training_data_need_not_fit_in_memory(tmp_path: Path) -> None:
    for name, model, specials in (
        ("encoder", make_encoder(), True),
        ("language_model", make_language_model(), False),
    ):
        model.save_pretrained(tmp_path / name)
        make_tokenizer(specials=specials).save_pretrained(tmp_path / name)
    write_bitext(tmp_path / "small.tsv", 100 * ROW)
    write_bitext(tmp_path / "large.tsv", DATA)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # others claim a gigabyte before they need it
    }

    def train(where: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), where, str(ROOM)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    disk = train("disk")
    assert disk.stdout == "updates: 5\n", disk.stderr
    memory = train("memory")
    assert memory.returncode != 0
    assert memory.stderr.rstrip().endswith("MemoryError")
