"""A report about evaluations does not wait for torch."""

import subprocess
import sys
from pathlib import Path


def test_torch_is_only_for_weights(results: Path, run: Path) -> None:
    code = (
        "import sys; from layalign.report.reading import read_folder; "
        "assert all(read_folder(folder).scores for folder in sys.argv[1:]); "
        "print(*{'torch', 'transformers'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(results), str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
