import re

import pytest

from layalign.embedded.registry import MODELS


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_entries_are_pinned_and_can_be_proved(model):
    assert re.fullmatch(r"\d+(\.\d+)+", model.version)
    assert re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    assert model.facts.token_ids
    assert model.facts.weights
    assert model.facts.cosines or model.facts.continuations
