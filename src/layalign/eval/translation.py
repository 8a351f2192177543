"""Score translations of a whole language with chrF and BLEU, through ``sacrebleu``."""

import json
from collections.abc import Sequence
from typing import Any

from layalign.errors import ConfigError
from layalign.eval.metrics import Estimate

SAMPLES = 1000
"""Bootstrap samples of an interval."""


def check_sacrebleu() -> None:
    """See that ``sacrebleu`` is there.

    Raises:
        ConfigError: Names the extra to install.
    """
    try:
        import sacrebleu  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "translations are scored by sacrebleu, which is not installed; run "
            "pip install 'layalign[eval]'"
        ) from error


def translation_scores(
    outputs: Sequence[str], references: Sequence[str]
) -> dict[str, tuple[Estimate, str]]:
    """Score translations against one reference each.

    Args:
        outputs: What the system wrote.
        references: As many, in the same order.

    Returns:
        For ``chrf`` and ``bleu`` the corpus score, 0-100, with a bootstrap interval over the
        sentences, and sacrebleu's signature.

    Raises:
        ConfigError: ``sacrebleu`` is not installed.
    """
    check_sacrebleu()
    from sacrebleu.metrics import BLEU, CHRF

    # `force` only silences a warning about text that looks tokenised.
    scorers = {"chrf": CHRF(), "bleu": BLEU(force=True)}
    return {name: _score(scorer, outputs, references) for name, scorer in scorers.items()}


def _score(scorer: Any, outputs: Sequence[str], references: Sequence[str]) -> tuple[Estimate, str]:
    found = scorer.corpus_score(list(outputs), [list(references)], n_bootstrap=SAMPLES)
    signature = str(scorer.get_signature())
    # The interval is public in this form only.
    interval = json.loads(found.format(is_json=True, signature=signature))
    value = float(found.score)
    # Left out where all samples agree.
    mean, half = interval.get("confidence_mean", value), interval.get("confidence_var", 0.0)
    # The bootstrap's mean is not quite the score, which should not lie outside its interval.
    low, high = max(0.0, min(mean - half, value)), min(100.0, max(mean + half, value))
    return Estimate(value=value, low=low, high=high), signature
