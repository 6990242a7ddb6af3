"""What arrives together is committed together, and each caller gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from prover_framework.database.batching import MAX_BATCH, RATE_SECONDS, Batcher, Company, _Arrivals
from prover_framework.errors import StoreError


class Commits:
    """Records batches; holds each until the test lets it go."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Event()
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()

    async def __call__(self, items: Sequence[int]) -> list[str]:
        self.batches.append(list(items))
        self.begun.set()
        await self.gate.wait()
        if -1 in items:
            raise ValueError("bad item")
        if -2 in items:
            raise StoreError("no space left")
        return [f"done {item}" for item in items]


async def test_what_arrives_together_is_one_commit() -> None:
    commits = Commits()
    call = Batcher(commits)
    assert await asyncio.gather(*map(call, range(5))) == [f"done {n}" for n in range(5)]
    assert commits.batches == [[0, 1, 2, 3, 4]]


async def test_what_arrives_during_a_commit_is_the_next_one_in_order() -> None:
    commits = Commits(held=True)
    call = Batcher(commits)
    first = asyncio.create_task(call(0))
    await commits.begun.wait()
    others = [asyncio.create_task(call(n)) for n in range(1, 6)]
    await asyncio.sleep(0)
    commits.gate.set()
    assert await asyncio.gather(first, *others) == [f"done {n}" for n in range(6)]
    assert commits.batches == [[0], [1, 2, 3, 4, 5]]


async def test_where_nobody_is_in_a_hurry_the_first_waits_for_others() -> None:
    commits = Commits()
    call = Batcher(commits, linger_seconds=0.05)
    first = asyncio.create_task(call(0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not commits.begun.is_set()
    answers = await asyncio.gather(first, call(1))
    assert list(answers) == ["done 0", "done 1"]
    assert commits.batches == [[0, 1]]


MANY = Company(aim=16, least=4, seconds=0.02)


def arriving(a_second: float) -> _Arrivals:
    """Return what is known after one item after the other has come for a while."""
    arrivals = _Arrivals()
    for number in range(1, 1 + round(20 * RATE_SECONDS * a_second)):
        arrivals.note(1, number / a_second)
    return arrivals


@pytest.mark.parametrize(
    ("a_second", "count", "seconds"),
    [(150, 1, 0.0), (250, 1, 0.02), (1000, 1, 0.015), (1000, 13, 0.003), (1000, 16, 0.0)],
)
def test_a_batch_waits_for_company_where_much_comes(
    a_second: float, count: int, seconds: float
) -> None:
    wait = arriving(a_second).wait_seconds(MANY, count)
    assert wait == pytest.approx(seconds, rel=0.01)


def test_after_a_pause_nobody_waits() -> None:
    arrivals = arriving(1000)
    arrivals.note(1, arrivals.until + 10 * RATE_SECONDS)
    assert arrivals.wait_seconds(MANY, 1) == 0


async def test_under_load_the_first_waits_for_company() -> None:
    commits = Commits()
    call = Batcher(commits, company=Company(aim=MAX_BATCH, least=1, seconds=5.0))
    await call(0)
    assert commits.batches == [[0]]
    await asyncio.gather(*map(call, range(10)))
    commits.begun.clear()
    first = asyncio.create_task(call(1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not commits.begun.is_set()
    await asyncio.gather(first, call(2))
    assert commits.batches[-1] == [1, 2]


async def test_batches_are_bounded() -> None:
    commits = Commits()
    call = Batcher(commits)
    await asyncio.gather(*map(call, range(2 * MAX_BATCH + 1)))
    assert [len(batch) for batch in commits.batches] == [MAX_BATCH, MAX_BATCH, 1]
    assert [n for batch in commits.batches for n in batch] == list(range(2 * MAX_BATCH + 1))


async def test_a_bad_item_hurts_only_its_own_caller() -> None:
    commits = Commits()
    call = Batcher(commits)
    good, bad, also_good = await asyncio.gather(call(1), call(-1), call(2), return_exceptions=True)
    assert (good, also_good) == ("done 1", "done 2")
    assert isinstance(bad, ValueError)
    assert commits.batches == [[1, -1, 2], [1], [-1], [2]]


async def test_a_database_that_refuses_is_not_asked_again_for_each_item() -> None:
    commits = Commits()
    call = Batcher(commits)
    answers = await asyncio.gather(call(1), call(-2), call(3), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreError] * 3
    assert commits.batches == [[1, -2, 3]]
    assert await call(4) == "done 4"


async def test_a_cancelled_caller_leaves_its_item_and_the_others_alone() -> None:
    commits = Commits(held=True)
    call = Batcher(commits)
    calls = [asyncio.create_task(call(n)) for n in range(3)]
    await commits.begun.wait()
    calls[1].cancel()
    commits.gate.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [answers[0], answers[2]] == ["done 0", "done 2"]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert commits.batches == [[0, 1, 2]]


async def test_draining_waits_for_all_and_giving_up_stops_nothing() -> None:
    commits = Commits(held=True)
    call = Batcher(commits)
    calling = asyncio.create_task(call(1))
    await asyncio.sleep(0)
    impatient, patient = (asyncio.create_task(call.drain()) for _ in range(2))
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert not patient.done()
    commits.gate.set()
    await patient
    assert calling.done() or await calling == "done 1"
    await call.drain()


async def test_a_commit_that_breaks_its_promise_leaves_no_caller_waiting() -> None:
    async def too_few(items: Sequence[int]) -> list[str]:
        return [str(items[0])]

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    call = Batcher(too_few)
    async with asyncio.timeout(10):
        answers = await asyncio.gather(call(1), call(2), return_exceptions=True)
    assert isinstance(answers[1], asyncio.CancelledError)
