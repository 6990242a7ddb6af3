"""Random numbers that are the same on every machine, with every version of numpy.

The generator is Philox 4x64 with ten rounds, a counter-based generator with a published definition
(Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011). Only its raw
64-bit words are taken from numpy; what is made of them is fixed here:

- key: the first 16 bytes of the seed as a little-endian integer;
- words: the output of counters 1, 2, 3, ... with four words each, in the order numpy gives them
  (its counter starts at 0 and is raised before each block);
- a uniform: `((word >> 12) + 0.5) / 2**52`, which is neither 0 nor 1 and exact in a double;
- a normal: the inverse of the normal distribution function at a uniform, `scipy.special.ndtri`;
- a yes with probability p: a 32-bit half of a word, the less significant half first, is below
  `p * 2**32`. The error of p is at most 2**-32.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from prover_reserve_price.errors import SimulationError
from prover_reserve_price.season import FloatArray

Words = npt.NDArray[np.uint64]

# A seed is a SHA-256 digest. Philox has a key of 128 bits, so it uses the first half.
SEED_BYTES = 32
_KEY_BYTES = 16

# Words of one Philox counter. Whoever owns a range of words owns whole counters.
WORDS_PER_COUNTER = 4


def key_from_seed(seed: bytes) -> int:
    """The Philox key of a seed of 32 bytes; a `SimulationError` for any other length."""
    if len(seed) != SEED_BYTES:
        raise SimulationError(
            f"the seed has {len(seed)} bytes, expected {SEED_BYTES}: pass a SHA-256 digest"
        )
    return int.from_bytes(seed[:_KEY_BYTES], "little")


def words(key: int, first_counter: int, rows: int, width: int) -> Words:
    """Raw words, shape `(rows, width)`, row after row; `width` is a multiple of four.

    `first_counter` is the number of counters that come before, `0` for the start of the stream.
    """
    stream = np.random.Philox(key=key, counter=first_counter)
    return stream.random_raw(rows * width).reshape(rows, width)


def normals(raw: Words) -> FloatArray:
    """One standard normal for each word; the shape of `raw`."""
    uniform = (raw >> np.uint64(12)).astype(np.float64)
    uniform += 0.5
    uniform *= 2.0**-52
    normal: FloatArray = ndtri(uniform, out=uniform)
    return normal


def events(raw: Words, probability: float) -> npt.NDArray[np.bool_]:
    """Two draws of a yes or no for each word: shape `(rows, 2 * width)`."""
    halves = raw.astype("<u8", copy=False).view("<u4")
    drawn: npt.NDArray[np.bool_] = halves < np.uint64(round(probability * 2**32))
    return drawn
