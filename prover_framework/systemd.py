"""Tell systemd that this process serves, lives and stops, where it has asked for that.

The protocol is a datagram of ``NAME=VALUE`` lines to the socket that ``NOTIFY_SOCKET`` names:
https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager

from attrs import frozen

log = logging.getLogger(__name__)

SOCKET = "NOTIFY_SOCKET"
WATCHDOG_USEC = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"

# A sign of life comes three times in the time that systemd waits for one.
SIGNS = 3


@frozen
class Systemd:
    """What systemd wants to be told; nothing where it has not started this process.

    Args:
        address: Its socket; None where it does not listen.
        watchdog_seconds: How long it waits for a sign of life; None for ever.
    """

    address: str | None = None
    watchdog_seconds: float | None = None

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> "Systemd":
        """Read the variables, and remove them: processes that are started have no part in it."""
        address = environment.pop(SOCKET, None)
        period = environment.pop(WATCHDOG_USEC, "")
        pid = environment.pop(WATCHDOG_PID, str(os.getpid()))
        is_ours = period.isdecimal() and int(period) > 0 and pid == str(os.getpid())
        return cls(address or None, int(period) / 1_000_000 if is_ours else None)

    def ready(self) -> None:
        """Tell that this process does what it is there for."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """Tell that it finishes what is under way."""
        self._tell("STOPPING=1")

    async def live(self) -> None:
        """Give signs of life for as long as the event loop turns, until cancelled."""
        if self.address is None or self.watchdog_seconds is None:
            return
        while True:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / SIGNS)

    def _tell(self, line: str) -> None:
        if self.address is None:
            return
        # A name in the abstract namespace begins with a zero byte, which a variable cannot have.
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(0)
                sender.connect(name)
                sender.send(line.encode())
        except OSError as error:
            # It ends the service if it hears nothing; that is told by itself.
            log.warning("systemd is not told %s: %s", line, error)


@asynccontextmanager
async def alive(systemd: Systemd) -> AsyncIterator[None]:
    """Give signs of life while the body runs."""
    living = asyncio.create_task(systemd.live())
    try:
        yield
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
