"""Recognise callers by their keys, as often as requests come."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TypeAlias

from prover_framework.callers.keys import ApiKey, id_in, is_key
from prover_framework.callers.rates import Rate
from prover_framework.callers.store import ApiKeyStore, KeysNow
from prover_framework.errors import (
    CallerUnknown,
    RateLimited,
    ScopeMissing,
    StoreError,
)
from prover_framework.model.callers import OPERATOR, Caller, Scope
from prover_framework.model.priorities import HIGHEST_PRIORITY, USUAL_PRIORITY

log = logging.getLogger(__name__)

# How long what is known of the keys is taken for true: a key that is revoked is refused after that.
KEEP_SECONDS = 2.0

# How often the times of last uses are written down, all of them in one statement.
NOTE_SECONDS = 60.0

# A digest to compare with where there is no such key, so that this takes as long.
NOBODY = "0" * 64

OPEN_SCOPES = frozenset({Scope.SUBMIT, Scope.READ, Scope.VERIFY})

Clock: TypeAlias = Callable[[], float]


class Callers:
    """Knows who may call the API of this process.

    While no key was ever made, everybody may do everything whom the API lets in at all. From the
    first key on, everybody needs one.

    Args:
        store: Where the keys are.
        is_open: Whether callers may come without a key though there are some: into the default
            namespace, and not to operate.
        clock: Seconds that never go back.
    """

    def __init__(
        self, store: ApiKeyStore, *, is_open: bool = False, clock: Clock = time.monotonic
    ) -> None:
        self._store = store
        self._is_open = is_open
        self._clock = clock
        self._lock = asyncio.Lock()
        self._known: KeysNow | None = None
        self._known_at = 0.0
        self._rates: dict[tuple[str, Scope | None], Rate] = {}
        self._used: dict[str, int] = {}
        self._noted_at = clock()

    async def have_keys(self) -> bool:
        """Tell whether callers need keys: one was made, whatever has become of it."""
        return (await self._now()).any_made

    async def caller(self, shown: str | None) -> Caller:
        """Recognise a caller.

        Args:
            shown: The key that he shows, if any.

        Raises:
            CallerUnknown: He needs one, or this one is not valid.
            RateLimited: He has made too many requests.
            StoreError: The keys cannot be read.
        """
        known = await self._now()
        if shown is None:
            if not known.any_made:
                return OPERATOR
            if self._is_open:
                return Caller(scopes=OPEN_SCOPES, max_priority=USUAL_PRIORITY)
            raise CallerUnknown("a key is needed: Authorization: Bearer KEY")
        key = known.keys.get(id_in(shown) or "")
        if not is_key(shown, NOBODY if key is None else key.digest) or key is None:
            raise CallerUnknown("this is no key of this service, or it was revoked")
        now = known.at + round((self._clock() - self._known_at) * 1000)
        if key.state(now) == "expired":
            raise CallerUnknown(f"the key {key.id} has expired")
        self._used[key.id] = now
        self._count(key, None, key.requests_per_minute)
        return Caller(
            namespace=key.namespace,
            scopes=key.scopes,
            key_id=key.id,
            open_groups=key.open_groups,
            max_priority=HIGHEST_PRIORITY if Scope.OPERATE in key.scopes else key.max_priority,
        )

    def require(self, caller: Caller, scope: Scope) -> None:
        """Require that a caller may do something.

        Raises:
            ScopeMissing: He may not.
            RateLimited: He has done it too often.
        """
        if scope not in caller.scopes:
            raise ScopeMissing(caller.key_id, scope)
        key = self._known.keys.get(caller.key_id or "") if self._known else None
        if key is not None and scope is Scope.VERIFY:
            self._count(key, scope, key.verifications_per_minute)

    def used(self, key_id: str, scope: Scope | None = None) -> int:
        """Return how much of a minute's worth a key has used up at this process.

        Args:
            key_id: The key.
            scope: `Scope.VERIFY` for verifications; None for all requests.
        """
        rate = self._rates.get((key_id, scope))
        return 0 if rate is None else rate.used

    async def close(self) -> None:
        """Write down what is not yet written."""
        await self._note_use()

    def _count(self, key: ApiKey, scope: Scope | None, per_minute: int) -> None:
        rate = self._rates.get((key.id, scope))
        if rate is None or rate.per_minute != per_minute:
            rate = self._rates[key.id, scope] = Rate(per_minute, self._clock)
        wait = rate.take()
        if wait is not None:
            what = "requests" if scope is None else "verifications"
            raise RateLimited(f"{per_minute} {what} a minute", key.id, wait)

    async def _now(self) -> KeysNow:
        """Return the keys, as they were a few seconds ago at the most."""
        if self._known is not None and self._clock() < self._known_at + KEEP_SECONDS:
            return self._known
        async with self._lock:
            asked_at = self._clock()
            if self._known is None or asked_at >= self._known_at + KEEP_SECONDS:
                known = await self._store.now()
                self._known, self._known_at = known, asked_at
                # What is counted of keys that are gone is not kept.
                self._rates = {of: rate for of, rate in self._rates.items() if of[0] in known.keys}
                if asked_at >= self._noted_at + NOTE_SECONDS:
                    await self._note_use()
            return self._known

    async def _note_use(self) -> None:
        self._noted_at = self._clock()
        if not self._used:
            return
        used, self._used = self._used, {}
        try:
            await self._store.note_use(used)
        except StoreError as error:
            log.warning("when API keys were used last is not noted: %s", error)
