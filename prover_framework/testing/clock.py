"""A clock that the test owns: no lease expires because the machine is busy."""

from tortoise.backends.base.client import BaseDBAsyncClient


class ManualClock:
    """Stands in for the database's clock; the time is ``ms`` until the test changes it."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    async def now_ms(self, connection: BaseDBAsyncClient) -> int:  # noqa: ARG002
        """Return the time in milliseconds since the Unix epoch."""
        return self.ms

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.ms += round(seconds * 1000)
