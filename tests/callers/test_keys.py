"""Keys of the API: what is stored of them, who is recognised, how much each may be used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from attrs import define
from table_queue import TableQueue

from prover_framework.callers.keys import KeySpec, id_in, new_secret
from prover_framework.callers.rates import Rate
from prover_framework.callers.service import KEEP_SECONDS, NOTE_SECONDS, Callers
from prover_framework.callers.store import MAX_KEYS, ApiKeyStore
from prover_framework.database.database import Database
from prover_framework.errors import (
    ApiKeyError,
    CallerUnknown,
    RateLimited,
    ScopeMissing,
    TooManyOpenGroups,
    TooManyOpenJobs,
)
from prover_framework.jobs.messages import parse_message
from prover_framework.jobs.records import NewGroup, NewJob
from prover_framework.jobs.room import KEEP_SECONDS as COUNT_KEEP_SECONDS
from prover_framework.jobs.room import Room
from prover_framework.jobs.service import ProvingService
from prover_framework.jobs.store import JobStore
from prover_framework.model.callers import OPERATOR, Caller, Scope
from prover_framework.model.jobs import RetryPolicy
from prover_framework.model.listing import GroupQuery
from prover_framework.model.names import group_id_of, group_key, namespace_of
from prover_framework.plugins.registry import Plugins

READ = frozenset({Scope.READ})


@define
class Seconds:
    """A clock that a test sets, for a database and for a process."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now

    @property
    def ms(self) -> int:
        return round(self.now * 1000)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Seconds, Database, ApiKeyStore]]:
    clock = Seconds()
    async with Database(url, clock) as database:
        yield clock, database, ApiKeyStore(database)


def spec(scopes: frozenset[Scope] = READ, **more: object) -> KeySpec:
    return KeySpec(name="somebody", scopes=scopes, **more)  # type: ignore[arg-type]


async def test_a_key_is_recognised_with_all_that_it_was_made_for(database_url: str) -> None:
    async with opened(database_url) as (clock, _, store):
        callers = Callers(store, clock=clock)
        wanted = frozenset({Scope.SUBMIT, Scope.READ})
        limits = {"open_groups": 7, "max_priority": 3}
        secret, key = await store.create(spec(wanted, namespace="team-a", **limits))
        assert id_in(secret.text) == key.id == secret.id
        found = await callers.caller(secret.text)
        assert found == Caller(namespace="team-a", scopes=wanted, key_id=key.id, **limits)
        callers.require(found, Scope.SUBMIT)
        with pytest.raises(ScopeMissing, match="takes the scope operate"):
            callers.require(found, Scope.OPERATE)


async def test_the_secret_is_in_no_table_and_in_no_representation(database_url: str) -> None:
    async with opened(database_url) as (_, database, store):
        secret, key = await store.create(spec())
        hidden = secret.text.rpartition("_")[2]
        (row,) = await database.read("SELECT * FROM api_key")
        assert hidden not in "".join(map(str, row))
        assert hidden not in repr(secret)
        assert key.digest not in repr(key)
        assert len(bytes.fromhex(hidden)) == 32
        assert (await store.create(spec()))[0].text != secret.text


async def test_what_is_no_key_or_not_quite_one_is_refused(database_url: str) -> None:
    async with opened(database_url) as (clock, _, store):
        callers = Callers(store, clock=clock)
        secret, key = await store.create(spec())
        another = new_secret().text
        forged = f"prover_{key.id}_{another.rpartition('_')[2]}"
        flipped = secret.text[:-1] + ("0" if secret.text[-1] != "0" else "1")
        for shown in ("", "x", another, forged, flipped, secret.text + "0", secret.text.upper()):
            with pytest.raises(CallerUnknown, match="no key of this service"):
                await callers.caller(shown)
        with pytest.raises(CallerUnknown, match="a key is needed"):
            await callers.caller(None)


async def test_nobody_needs_a_key_until_one_is_made_and_everybody_from_then_on(
    database_url: str,
) -> None:
    async with opened(database_url) as (clock, _, store):
        callers, lenient = Callers(store, clock=clock), Callers(store, is_open=True, clock=clock)
        assert await callers.caller(None) == await lenient.caller(None) == OPERATOR
        assert not await callers.have_keys()
        _, key = await store.create(spec())
        await store.revoke(key.id)
        clock.now += KEEP_SECONDS
        # The last key is gone, and that must open nothing.
        with pytest.raises(CallerUnknown):
            await callers.caller(None)
        assert await callers.have_keys()
        stranger = await lenient.caller(None)
        assert (stranger.namespace, stranger.sees_all) == ("default", False)


async def test_a_revoked_key_and_one_that_has_expired_are_refused_in_seconds(
    database_url: str,
) -> None:
    async with opened(database_url) as (clock, _, store):
        callers = Callers(store, clock=clock)
        revoked, key = await store.create(spec())
        expiring, _ = await store.create(spec(seconds=60))
        for secret in (revoked, expiring):
            await callers.caller(secret.text)
        assert (await store.revoke(key.id)).revoked_at == clock.ms
        clock.now += KEEP_SECONDS
        with pytest.raises(CallerUnknown, match="revoked"):
            await callers.caller(revoked.text)
        clock.now += 60 - KEEP_SECONDS - 0.001
        await callers.caller(expiring.text)
        clock.now += 0.001
        with pytest.raises(CallerUnknown, match="has expired"):
            await callers.caller(expiring.text)
        now, listed = await store.list()
        assert sorted(one.state(now) for one in listed) == ["expired", "revoked"]
        with pytest.raises(ApiKeyError, match="no API key 'unknown'"):
            await store.revoke("unknown")


async def test_rates_are_each_keys_own_and_say_when_to_come_again(database_url: str) -> None:
    async with opened(database_url) as (clock, _, store):
        callers = Callers(store, clock=clock)
        slow, _ = await store.create(
            spec(frozenset({Scope.VERIFY}), requests_per_minute=3, verifications_per_minute=1)
        )
        other, _ = await store.create(spec())
        caller = await callers.caller(slow.text)
        callers.require(caller, Scope.VERIFY)
        with pytest.raises(RateLimited, match="1 verifications a minute") as caught:
            callers.require(caller, Scope.VERIFY)
        assert caught.value.retry_seconds == 60
        for _ in range(2):
            await callers.caller(slow.text)
        with pytest.raises(RateLimited, match="3 requests a minute") as caught:
            await callers.caller(slow.text)
        assert caught.value.retry_seconds == 20
        await callers.caller(other.text)
        clock.now += 20
        await callers.caller(slow.text)


def test_a_rate_lets_through_its_mean_whatever_the_clients_rhythm() -> None:
    clock = Seconds()
    rate = Rate(60, clock)
    let_through = 0
    for _ in range(10 * 60 * 4):
        let_through += rate.take() is None
        clock.now += 0.25
    assert 10 * 60 <= let_through <= 11 * 60


async def test_last_use_is_noted_once_a_minute_and_not_with_each_request(
    database_url: str,
) -> None:
    async with opened(database_url) as (clock, database, store):
        callers = Callers(store, clock=clock)
        secret, _ = await store.create(spec())

        async def noted() -> object:
            (row,) = await database.read("SELECT last_used_at FROM api_key")
            return row["last_used_at"]

        await callers.caller(secret.text)
        used_at = clock.ms
        assert await noted() is None
        clock.now += NOTE_SECONDS
        await callers.caller(secret.text)
        assert await noted() == used_at
        await callers.close()
        assert await noted() == clock.ms


async def test_a_guess_costs_no_read(database_url: str) -> None:
    async with opened(database_url) as (clock, _, store):
        callers = Callers(store, clock=clock)
        await store.create(spec())
        await callers.have_keys()
        reads = 0
        now = store.now

        async def counted() -> object:
            nonlocal reads
            reads += 1
            return await now()

        store.now = counted  # type: ignore[method-assign, assignment]
        for _ in range(100):
            with pytest.raises(CallerUnknown):
                await callers.caller(new_secret().text)
        assert reads == 0
        clock.now += KEEP_SECONDS
        await asyncio.gather(*(callers.have_keys() for _ in range(20)))
        assert reads == 1


async def test_there_are_so_many_keys_and_no_more(database_url: str) -> None:
    async with opened(database_url) as (_, database, store):
        _, key = await store.create(spec())
        await database.write(
            "INSERT INTO api_key (id, digest, name, namespace, scopes, requests_per_minute,"
            " verifications_per_minute, open_groups, created_at)"
            f" WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {MAX_KEYS})"
            " SELECT CAST(i AS VARCHAR(16)), 'd', 'n', 'default', 'read', 1, 1, 1, 1 FROM n"
        )
        with pytest.raises(ApiKeyError, match="the limit; revoke some"):
            await store.create(spec())
        await store.revoke(key.id)
        await store.create(spec())


# Namespaces and quotas


def group(key: str, *jobs: str, api_key: str | None = None) -> NewGroup:
    return NewGroup(
        key, tuple(NewJob(job, f"type{n}", "{}", "default") for n, job in enumerate(jobs)), api_key
    )


def test_a_group_is_stored_under_its_id_in_its_namespace() -> None:
    longest = "n" * 32, "i" * 128
    for namespace, group_id in (("default", "job_1"), ("team-a", "job_1"), longest):
        key = group_key(namespace, group_id)
        assert (namespace_of(key), group_id_of(key)) == (namespace, group_id)
    # What was stored before there were namespaces is in the default one.
    assert group_key("default", "job_1") == "job_1"
    for namespace, group_id in (("a", "x/y"), ("a/b", "x"), ("", "x"), ("A", "x"), ("a", "")):
        with pytest.raises(ValueError, match=r"^a (group id|namespace) must be"):
            group_key(namespace, group_id)


async def test_one_id_names_a_group_in_each_namespace(database_url: str) -> None:
    async with Database(database_url) as database:
        jobs = JobStore(database, RetryPolicy())
        longest = group_key("n" * 32, "i" * 128)
        for number, key in enumerate(("g", "team-a/g", "team-b/g", longest)):
            assert (await jobs.submit(group(key, f"{number}"))).created
        (job,) = await jobs.group("team-a/g")
        assert (job.id, job.job_group_id, job.namespace) == ("1", "g", "team-a")

        async def listed(**wanted: Any) -> list[tuple[str, str]]:
            page = await jobs.listing.page(GroupQuery(**wanted))
            return [(found.namespace, found.job_group_id) for found in page.groups]

        assert await listed(namespace="team-a") == [("team-a", "g")]
        assert len(await listed()) == 4
        assert await listed(state=job.state, namespace="default") == [("default", "g")]
        assert await listed(text="team") == [], "the id alone is searched"
        page = await jobs.listing.page(GroupQuery(limit=1))
        assert page.next_cursor
        rest = await jobs.listing.page(GroupQuery().from_cursor(page.next_cursor))
        assert len(rest.groups) == 3, "a cursor holds a group of any namespace"
        await jobs.cancel("team-b/g")
        assert (await jobs.group("g"))[0].state == "pending"


async def test_messages_have_the_id_that_the_sender_has_chosen(database_url: str) -> None:
    async with Database(database_url) as database:
        jobs, queue = JobStore(database, RetryPolicy()), await TableQueue.open(database)
        service = ProvingService(Plugins(found=(), hooks={}), jobs, queue)
        for key in ("g", "team-a/g"):
            submitted = await jobs.submit(group(key, f"{len(key):032x}"))
            assert await service.send(submitted.jobs) == {}
        received = await queue.receive("default", limit=2, wait_seconds=0, visibility_seconds=60)
        messages = [parse_message(one.body) for one in received]
        assert [message.job_group_id for message in messages] == ["g", "g"]
        # Which of the two is meant, our own id says.
        assert len({message.id for message in messages}) == 2
        await service.close()


async def test_a_key_has_so_many_open_groups_and_repeats_what_it_has(
    database_url: str,
) -> None:
    clock = Seconds()
    async with Database(database_url) as database:
        jobs = JobStore(database, RetryPolicy())
        room = Room(jobs, 100, clock)
        caller = Caller(key_id="k", open_groups=2)
        for name in ("a", "b"):
            await room.require(name, 2, caller)
            await jobs.submit(group(name, f"{name}0", f"{name}1", api_key="k"))
        with pytest.raises(TooManyOpenGroups, match="may have 2 job groups") as caught:
            await room.require("c", 1, caller)
        assert caught.value.retry_seconds > 0
        await room.require("a", 2, caller)
        await room.require("c", 1, Caller(key_id="other", open_groups=1))
        await jobs.cancel("a")
        await room.require("c", 1, caller)


async def test_the_service_has_so_many_open_jobs(database_url: str) -> None:
    clock = Seconds()
    async with Database(database_url) as database:
        jobs = JobStore(database, RetryPolicy())
        room = Room(jobs, 3, clock)
        await room.require("a", 2, OPERATOR)
        await jobs.submit(group("a", "a0", "a1"))
        with pytest.raises(TooManyOpenJobs, match="PROVER_MAX_OPEN_JOBS"):
            await room.require("b", 2, OPERATOR)
        await room.require("a", 2, OPERATOR)
        await jobs.cancel("a")
        clock.now += COUNT_KEEP_SECONDS
        await room.require("b", 2, OPERATOR)
