import pytest

from layalign.embedded import models_table
from layalign.embedded.registry import MODELS
from layalign.embedded.verify import verify


@pytest.mark.slow
@pytest.mark.parametrize("row", models_table(), ids=lambda row: row.name)
def test_a_fetched_model_is_what_it_should_be(row):
    if row.source is None:
        pytest.skip(f"{row.name} is not in LAYALIGN_HOME: run `layalign models fetch`")
    verify(row.path, MODELS[row.name].facts, converted=row.source == "pypi")
