"""A clock that the test owns: no lease expires because the machine is busy."""


class ManualClock:
    """Stands in for the database's clock; the time is ``ms`` until the test changes it."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.ms += round(seconds * 1000)
