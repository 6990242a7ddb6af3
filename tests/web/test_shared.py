"""What many look at: made once for all who ask at one time, and not kept for longer."""

import asyncio
import re
from importlib.resources import files

import pytest

from prover_framework.web.pages.shared import KEEP_SECONDS, Shared


async def test_who_asks_at_one_time_gets_what_is_made_once() -> None:
    shared: Shared[int] = Shared()
    made: list[str] = []
    gate = asyncio.Event()

    async def make() -> int:
        made.append("x")
        await gate.wait()
        return len(made)

    asking = [asyncio.create_task(shared.get("a", make)) for _ in range(5)]
    other = asyncio.create_task(shared.get("b", make))
    await asyncio.sleep(0)
    # Who gives up does not take it from the others.
    asking.pop(0).cancel()
    gate.set()
    (answer,) = set(await asyncio.gather(*asking))
    await other
    assert await shared.get("a", make) == answer
    assert len(made) == 2, "one for each question"


async def test_nothing_is_kept_for_longer_than_it_is_good() -> None:
    shared: Shared[int] = Shared(keep_seconds=0.0)
    made: list[int] = []

    async def make() -> int:
        made.append(1)
        return len(made)

    assert [await shared.get("a", make) for _ in range(3)] == [1, 2, 3]


async def test_what_cannot_be_made_is_told_to_all() -> None:
    shared: Shared[int] = Shared()

    async def make() -> int:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            await shared.get("a", make)


def test_a_page_that_has_heard_of_a_change_loads_what_was_made_after_it() -> None:
    module = (files("prover_framework.web") / "static" / "live.js").read_text()
    waits = re.search(r"^const SHORTEST_WAIT_MS = (\d+);$", module, re.MULTILINE)
    assert waits is not None
    assert int(waits[1]) > 1000 * KEEP_SECONDS
