"""A database of a test's own, with a clock that the test moves."""

from collections.abc import AsyncIterator

import pytest

from prover_framework.database.database import Database
from prover_framework.testing.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def database(database_url: str, clock: ManualClock) -> AsyncIterator[Database]:
    async with Database(database_url, clock) as database:
        yield database
