"""A simulated chain passes the checks of a real one and looks like a fee market."""

from collections.abc import Callable, Iterator
from itertools import chain, islice, pairwise, repeat
from math import exp, log
from random import Random
from statistics import correlation, fmean, stdev

import pytest

from prover_framework.chain.headers import Header, next_base_fee_wei
from prover_framework.chain.sources import simulated
from prover_framework.chain.sources.simulated import simulate

GWEI = 10**9
FIRST_HOUR = 1_699_999_200  # 2023-11-14T22:00:00Z
DAYS = 28


def hourly_means(blocks: list[Header]) -> list[float]:
    fees = [block.base_fee_wei for block in blocks[:-1]]
    return [fmean(fees[i : i + 300]) for i in range(0, len(fees), 300)]


@pytest.fixture(scope="module")
def blocks() -> list[Header]:
    return list(simulate(FIRST_HOUR, DAYS * 24))


@pytest.fixture(scope="module")
def fees(blocks: list[Header]) -> list[float]:
    return hourly_means(blocks)


def test_each_block_follows_from_its_parent_by_eip_1559(blocks: list[Header]) -> None:
    for parent, child in pairwise(blocks):
        assert parent.gas_used is not None
        assert parent.gas_limit == 30_000_000
        assert child.base_fee_wei == next_base_fee_wei(
            parent.base_fee_wei, parent.gas_used, parent.gas_limit
        )


def test_gas_used_stays_within_the_limit_and_varies(blocks: list[Header]) -> None:
    used = [block.gas_used for block in blocks if block.gas_used is not None]
    assert len(used) == len(blocks)
    assert min(used) >= 0
    assert max(used) <= 30_000_000
    assert len(set(used)) > len(used) // 2


def test_a_block_comes_every_twelve_seconds_from_the_first_hour_to_the_end_of_the_last(
    blocks: list[Header],
) -> None:
    end = FIRST_HOUR + DAYS * 86_400
    assert [block.timestamp for block in blocks] == list(range(FIRST_HOUR, end + 1, 12))
    assert [block.number for block in blocks] == list(range(1, DAYS * 7_200 + 2))


def test_one_hour_is_the_shortest_chain() -> None:
    hour = list(simulate(FIRST_HOUR, 1, first_number=17))
    assert (hour[0].number, hour[-1].number) == (17, 317)
    assert hour[-1].timestamp == FIRST_HOUR + 3600


def test_the_same_seed_gives_the_same_chain_and_more_hours_continue_it() -> None:
    short, long = list(simulate(FIRST_HOUR, 3)), list(simulate(FIRST_HOUR, 5))
    assert list(simulate(FIRST_HOUR, 3)) == short
    assert long[:901] == short


def test_another_seed_gives_another_chain() -> None:
    first = [block.base_fee_wei for block in simulate(FIRST_HOUR, 2, seed=1)]
    second = [block.base_fee_wei for block in simulate(FIRST_HOUR, 2, seed=2)]
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 10


def test_nothing_but_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: pytest.fail("the global generator was used"))
    monkeypatch.setattr("random.gauss", lambda *_: pytest.fail("the global generator was used"))
    assert next(simulate(FIRST_HOUR, 1)).base_fee_wei > 0


def test_the_fees_are_those_of_a_busy_chain(fees: list[float]) -> None:
    assert 10 * GWEI < fmean(fees) < 50 * GWEI
    assert fmean(map(log, fees)) == pytest.approx(log(15 * GWEI), abs=0.2)
    assert min(fees) > 1 * GWEI
    assert max(fees) < 1_000 * GWEI


def market_of(*gwei: float) -> Callable[[int, Random], Iterator[float]]:
    """A market that has these fees at the start of its hours and then keeps the last."""

    def market(_first_hour: int, _random: Random) -> Iterator[float]:
        return (log(fee * GWEI) for fee in chain(gwei, repeat(gwei[-1])))

    return market


def test_the_base_fee_follows_a_jump_of_the_market_within_twenty_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulated, "_market", market_of(10, 15))
    monkeypatch.setattr(simulated, "BLOCKS_PER_HOUR", 1)
    found = [block.base_fee_wei / GWEI for block in simulate(FIRST_HOUR, 400)]
    assert found[0] == pytest.approx(10)
    assert found[3] < 14
    assert fmean(found[20:40]) == pytest.approx(15, rel=0.15)
    assert fmean(found[20:]) == pytest.approx(15, rel=0.03)


def test_within_an_hour_the_market_moves_gradually(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated, "_market", market_of(10, 40))
    found = [block.base_fee_wei / GWEI for block in simulate(FIRST_HOUR, 1)]
    # In the logarithm, 20 lies half way from 10 to 40.
    assert fmean(found[130:190]) == pytest.approx(20, rel=0.1)
    assert found[-1] == pytest.approx(40, rel=0.4)


@pytest.mark.parametrize(("after", "gas_used"), [(1000, 30_000_000), (0.1, 0)])
def test_blocks_are_full_or_empty_while_the_base_fee_cannot_follow(
    monkeypatch: pytest.MonkeyPatch, after: float, gas_used: int
) -> None:
    monkeypatch.setattr(simulated, "_market", market_of(10, after))
    monkeypatch.setattr(simulated, "BLOCKS_PER_HOUR", 1)
    assert {block.gas_used for block in islice(simulate(FIRST_HOUR, 9), 1, 10)} == {gas_used}


def test_demand_has_a_daily_wave_by_utc_that_is_high_in_the_afternoon(fees: list[float]) -> None:
    by_hour: dict[int, list[float]] = {}
    for index, fee in enumerate(fees):
        by_hour.setdefault((FIRST_HOUR // 3600 + index) % 24, []).append(log(fee))
    means = {hour: fmean(logs) for hour, logs in by_hour.items()}
    afternoon, night = fmean(means[h] for h in range(13, 18)), fmean(means[h] for h in range(1, 6))
    assert 1.3 < exp(afternoon - night) < 2.5


def test_weekends_are_cheaper_whatever_the_start() -> None:
    for shift in (0, 100):
        first_hour = FIRST_HOUR + shift * 3600
        weekend, midweek = [], []
        for index, fee in enumerate(hourly_means(list(simulate(first_hour, 42 * 24, seed=shift)))):
            # Unix time began on a Thursday; Saturday is day 2 of such a week, Tuesday day 5.
            day = (first_hour // 3600 + index) // 24 % 7
            if day in (1, 2):
                weekend.append(log(fee))
            elif day in (5, 6):
                midweek.append(log(fee))
        assert fmean(midweek) > fmean(weekend)


def test_what_season_leaves_reverts_to_its_mean_and_jumps_upwards() -> None:
    fees = hourly_means(list(simulate(FIRST_HOUR, 56 * 24, seed=3)))
    residual = [log(fee) for fee in fees]
    # The mean over the same hour of the week takes the waves out without a fit.
    for hour in range(168):
        mean = fmean(residual[hour::168])
        residual[hour::168] = [value - mean for value in residual[hour::168]]
    before, after = residual[:-1], residual[1:]
    assert 0.85 < correlation(before, after) < 0.97
    steps = [b - a for a, b in pairwise(residual)]
    deviation = stdev(steps)
    rises, falls = (sum(sign * step > 3 * deviation for step in steps) for sign in (1, -1))
    assert rises > 3 * falls
    assert rises > 0.005 * len(steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((FIRST_HOUR + 1, 1), "whole hour"),
        ((-3600, 1), "whole hour"),
        ((FIRST_HOUR, 0), "at least 1"),
        ((FIRST_HOUR, -5), "at least 1"),
        ((FIRST_HOUR, 2**63), "beyond the last timestamp"),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_block(
    arguments: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(*arguments)


@pytest.mark.parametrize("first_number", [-1, 2**63 - 1, 2**63 - 300])
def test_block_numbers_stay_in_their_column(first_number: int) -> None:
    with pytest.raises(ValueError, match="first_number"):
        simulate(FIRST_HOUR, 1, first_number=first_number)
