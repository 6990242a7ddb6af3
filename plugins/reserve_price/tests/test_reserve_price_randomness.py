"""The random numbers are pinned: no version of numpy or scipy may change a receipt."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prover_reserve_price import randomness
from prover_reserve_price.errors import SimulationError
from scipy.special import ndtr

SEED = bytes(range(32))

_MASK = 2**64 - 1


def philox(counter: int, key: int) -> list[int]:
    """One block of Philox 4x64-10 as its paper defines it."""
    c = [(counter >> (64 * i)) & _MASK for i in range(4)]
    k = [key & _MASK, key >> 64]
    for _ in range(10):
        left, right = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [
            (right >> 64) ^ c[1] ^ k[0],
            right & _MASK,
            (left >> 64) ^ c[3] ^ k[1],
            left & _MASK,
        ]
        k = [(k[0] + 0x9E3779B97F4A7C15) & _MASK, (k[1] + 0xBB67AE8584CAA73B) & _MASK]
    return c


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**40))
def test_words_are_those_of_the_published_generator(seed: bytes, first: int) -> None:
    key = randomness.key_from_seed(seed)
    expected = [philox(first + block, key) for block in (1, 2, 3, 4)]
    assert randomness.words(key, first, 2, 8).reshape(4, 4).tolist() == expected


def test_key_is_the_first_half_of_the_seed_little_endian() -> None:
    assert randomness.key_from_seed(SEED) == 0x0F0E0D0C0B0A09080706050403020100


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_seed_that_is_no_digest_is_refused(length: int) -> None:
    with pytest.raises(SimulationError, match=f"{length} bytes"):
        randomness.key_from_seed(bytes(length))


def test_normals_of_extreme_words_are_finite_and_symmetric() -> None:
    extreme = randomness.normals(np.array([[0, 2**64 - 1]], dtype=np.uint64))
    assert np.isfinite(extreme).all()
    assert extreme[0, 0] == pytest.approx(-extreme[0, 1])
    assert ndtr(extreme[0, 0]) == pytest.approx(2.0**-53)


def test_normals_and_events_have_their_distributions() -> None:
    raw = randomness.words(randomness.key_from_seed(SEED), 0, 500, 400)
    normal = randomness.normals(raw).ravel()
    # Four standard errors at 200,000 draws.
    assert abs(normal.mean()) < 4 / 200_000**0.5
    assert abs(normal.var() - 1) < 4 * (2 / 200_000) ** 0.5
    events = randomness.events(raw, 0.3)
    assert events.shape == (500, 800)
    assert abs(events.mean() - 0.3) < 4 * (0.21 / 400_000) ** 0.5


def test_impossible_never_happens_and_certain_always() -> None:
    raw = np.array([[0, 2**64 - 1]], dtype=np.uint64)
    assert not randomness.events(raw, 0.0).any()
    assert randomness.events(raw, 1.0).all()


def test_the_less_significant_half_of_a_word_is_drawn_first() -> None:
    raw = np.array([[0x00000001_80000000]], dtype=np.uint64)
    assert randomness.events(raw, 0.5).tolist() == [[False, True]]
