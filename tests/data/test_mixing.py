import os
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layalign.data import Example, Mixing, mix
from layalign.data.mixing import shares
from layalign.errors import ConfigError

SIZES = st.dictionaries(st.sampled_from(["sw", "th", "de", "en"]), st.integers(1, 500), min_size=1)


def examples(**sizes: int) -> list[Example]:
    return [Example(text=f"{n}", language=tag) for tag, size in sizes.items() for n in range(size)]


@given(SIZES, st.floats(1, 50), st.none() | st.integers(1, 1000))
def test_shares(sizes: dict[str, int], temperature: float, total: int | None) -> None:
    found = shares(sizes, Mixing(temperature=temperature, total=total))
    assert sum(found.values()) == (total or sum(sizes.values()))
    weights = {tag: size ** (1 / temperature) for tag, size in sizes.items()}
    for tag, share in found.items():
        exact = sum(found.values()) * weights[tag] / sum(weights.values())
        assert abs(share - exact) < 1 + 1e-6


def test_one_keeps_the_data() -> None:
    data = examples(sw=5, en=20)
    assert mix(data, Mixing()) == data


def test_repetitions_are_even() -> None:
    mixed = mix(examples(sw=4, en=16), Mixing(temperature=2, total=30))
    assert Counter(e.language for e in mixed) == {"sw": 10, "en": 20}
    for tag, times in (("sw", {2, 3}), ("en", {1, 2})):
        assert set(Counter(e.text for e in mixed if e.language == tag).values()) == times


def test_the_seed_decides() -> None:
    data = examples(sw=50)
    first, again, other = (mix(data, Mixing(total=10, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_every_process_mixes_alike() -> None:
    program = (
        "from layalign.data import Example, Mixing, mix\n"
        "sizes = {'sw': 40, 'en': 200, 'th': 7}\n"
        "data = [Example(text=f'{n}', language=tag) for tag in sizes for n in range(sizes[tag])]\n"
        "print([(e.language, e.text) for e in mix(data, Mixing(temperature=3, total=150))])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**environment, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    mixed = mix(examples(sw=40, en=200, th=7), Mixing(temperature=3, total=150))
    assert printed == {f"{[(e.language, e.text) for e in mixed]}\n".encode()}


def test_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"temperature is 0\.5; expected 1"):
        Mixing(temperature=0.5)
    with pytest.raises(ConfigError, match="total is 0"):
        Mixing(total=0)
