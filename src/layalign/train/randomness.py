"""The random state of everything that draws: Python, NumPy and torch on all devices."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch


def remember_random_state() -> Callable[[], None]:
    """Take down the random state.

    Returns:
        What brings it back.
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(gpus)

    return restore


@contextlib.contextmanager
def preserved_random_state() -> Iterator[None]:
    """Leave the random state as it was."""
    restore = remember_random_state()
    try:
        yield
    finally:
        restore()
