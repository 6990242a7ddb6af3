"""A simulated chain, for demonstrations and tests: its numbers settle nothing.

What people would pay follows a made-up market. What the blocks charge follows from it by the
EIP-1559 rule, exactly and block by block, so that a simulated chain passes every check that a real
one passes. It must therefore be labelled as simulated wherever it is stored or shown.

The market: the log of the fee at which exactly half of the gas is used is, at the start of hour
``i``, ``level + trend * i + season + x[i]``, and a straight line in between. The season is a daily
and a weekly wave by UTC. The rest ``x`` reverts to its mean and jumps, as models of the fee that
prices are made with suppose: ``x[i+1] = phi * x[i] + sigma * Z + J * (mu_j + sigma_j * Z')``, less
the mean of the jumps, with normal ``Z`` and ``Z'`` and with ``J`` 1 at times and else 0.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from math import exp, log, pi, sin, sqrt
from random import Random

from prover_framework.chain.headers import (
    MAX_NUMBER,
    MAX_TIMESTAMP,
    EncodedHeader,
    Header,
    next_base_fee_wei,
)
from prover_framework.model.series import HOUR_SECONDS

# The slot time of Ethereum since proof of stake; a simulated chain misses no slot.
BLOCK_SECONDS = 12
BLOCKS_PER_HOUR = HOUR_SECONDS // BLOCK_SECONDS

# The limit of Ethereum mainnet from 2021 to early 2025.
GAS_LIMIT = 30_000_000

DEFAULT_SEED = 1559
DEFAULT_FIRST_NUMBER = 1

# About the market of Ethereum mainnet in late 2022, in logs of wei: some 15 gwei, deviations from
# trend and season that halve in six to seven hours, a jump about every eight. The jumps are several
# times as large as what moves the other hours, which is what lets a calibration find them even in
# two weeks of blocks.
_LEVEL = log(15e9)
_TREND_PER_HOUR = 5e-5
_PHI = 0.9
_SIGMA = 0.08
_JUMP_PROBABILITY = 0.12
_JUMP_MEAN = 0.25
_JUMP_SIGMA = 0.40

# Height of each wave and the UTC hour at which it rises through zero, hour 0 being that in which
# a day (a week, on Thursday like the Unix epoch) begins: high in the American morning, low at
# weekends.
_DAY_HOURS, _DAY_HEIGHT, _DAY_RISES = 24, 0.30, 9
_WEEK_HOURS, _WEEK_HEIGHT, _WEEK_RISES = 168, 0.12, 90

# Gas used, as a part of the target, is 1 plus this for each unit of log fee that the base fee is
# too low. An eighth of it is how much of the distance each block makes up: a tenth, so the base
# fee follows the market within ten to twenty blocks.
_GAS_RESPONSE = 0.8

# Blocks differ at random, by up to this part of the gas target either way.
_GAS_NOISE = 0.6


def simulate(
    first_hour: int,
    hours: int,
    *,
    seed: int = DEFAULT_SEED,
    first_number: int = DEFAULT_FIRST_NUMBER,
) -> Iterator[Header]:
    """Return the blocks of some whole hours and the one that comes at their end.

    The last block shows that the chain has passed the last hour, which makes the hours complete.
    The same arguments give the same chain, and more hours give the same blocks and more.

    Args:
        first_hour: Unix timestamp of a whole hour, that of the first block.
        hours: Number of hours, at least 1; the last block is at ``first_hour + hours * 3600``.
        seed: Seed of the pseudo-random market.
        first_number: Number of the first block.

    Raises:
        ValueError: An argument is not like this.
    """
    if first_hour < 0 or first_hour % HOUR_SECONDS:
        raise ValueError(f"first_hour must be a whole hour in Unix seconds, got {first_hour}")
    if hours < 1:
        raise ValueError(f"hours must be at least 1, got {hours}")
    if first_hour + hours * HOUR_SECONDS > MAX_TIMESTAMP:
        raise ValueError(f"{hours} hours from {first_hour} lead beyond the last timestamp")
    if first_number < 0 or first_number + hours * BLOCKS_PER_HOUR > MAX_NUMBER:
        raise ValueError(f"first_number must leave room for the blocks, got {first_number}")
    random = Random(seed)  # noqa: S311 (nothing here is secret)
    return islice(_blocks(first_hour, random, first_number), hours * BLOCKS_PER_HOUR + 1)


def made_whole(headers: Iterable[Header]) -> Iterator[EncodedHeader]:
    """Give simulated blocks all fields of a header, and with them the hashes that link them.

    Fields that say nothing about the base fee are zero, as in a header of the Prague fork.

    Args:
        headers: Consecutive blocks of a simulated chain.
    """
    # Imported where it is used: RLP and keccak double the time that a command takes to start.
    from prover_framework.chain.rlp_header import FIELDS, FORKS, encode_header

    fields: dict[str, object] = {
        field.name: 0 if field.maximum else bytes(field.size or 0)
        for field in FIELDS[: FORKS["Prague"]]
    }
    for header in headers:
        encoded = encode_header(
            fields
            | {
                "number": header.number,
                "timestamp": header.timestamp,
                "base_fee_per_gas": header.base_fee_wei,
                "gas_used": header.gas_used,
                "gas_limit": header.gas_limit,
            }
        )
        yield encoded
        fields["parent_hash"] = encoded.header.block_hash


def _blocks(first_hour: int, random: Random, number: int) -> Iterator[Header]:
    """Yield the blocks of the chain, without end."""
    market = _market(first_hour, random)
    log_fee = next(market)
    timestamp, base_fee_wei = first_hour, round(exp(log_fee))
    target, uniform = GAS_LIMIT // 2, random.random
    while True:
        next_log_fee = next(market)
        step = (next_log_fee - log_fee) / BLOCKS_PER_HOUR
        for _ in range(BLOCKS_PER_HOUR):
            noise = _GAS_NOISE * (2 * uniform() - 1)
            pressure = _GAS_RESPONSE * (log_fee - log(base_fee_wei)) + noise
            gas_used = min(max(round(target * (1 + pressure)), 0), GAS_LIMIT)
            yield Header(number, timestamp, base_fee_wei, gas_used, GAS_LIMIT)
            base_fee_wei = next_base_fee_wei(base_fee_wei, gas_used, GAS_LIMIT)
            number += 1
            timestamp += BLOCK_SECONDS
            log_fee += step
        log_fee = next_log_fee


def _market(first_hour: int, random: Random) -> Iterator[float]:
    """Yield the log fee of the market at the start of each hour, without end."""
    mean_step = _JUMP_PROBABILITY * _JUMP_MEAN
    variance_step = _SIGMA**2 + _JUMP_PROBABILITY * (_JUMP_SIGMA**2 + _JUMP_MEAN**2) - mean_step**2
    deviation = random.gauss(0, sqrt(variance_step / (1 - _PHI**2)))
    hour, trend = first_hour // HOUR_SECONDS, 0.0
    while True:
        day = _DAY_HEIGHT * sin(2 * pi * (hour - _DAY_RISES) / _DAY_HOURS)
        week = _WEEK_HEIGHT * sin(2 * pi * (hour - _WEEK_RISES) / _WEEK_HOURS)
        yield _LEVEL + trend + day + week + deviation
        deviation = _PHI * deviation + random.gauss(-mean_step, _SIGMA)
        if random.random() < _JUMP_PROBABILITY:
            deviation += random.gauss(_JUMP_MEAN, _JUMP_SIGMA)
        hour += 1
        trend += _TREND_PER_HOUR
