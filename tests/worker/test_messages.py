"""Intake by messages: those of every kind, the jobs they are about, how many are taken."""

import asyncio
from pathlib import Path
from typing import Any

import attrs
import pytest
from worker_bench import (
    END,
    HANG_SECONDS,
    comes_to,
    dead,
    hidden,
    members,
    message_bench,
)

from prover_framework.errors import StoreError
from prover_framework.jobs.records import Failure, NewGroup, NewJob, Taken
from prover_framework.model.jobs import JobState
from prover_framework.model.listing import GroupQuery
from prover_framework.queues.base import Outgoing
from prover_framework.testing import ManualClock
from prover_framework.worker.messages import NOT_OURS
from prover_framework.worker.timings import Timings

pytestmark = pytest.mark.usefixtures("lab_module")

S = JobState


async def test_what_can_not_be_understood_goes_to_the_dead_letters(tmp_path: Path) -> None:
    async with message_bench(tmp_path) as bench:
        unknown = '{"job_id": "lab", "job_group_id": "g", "id": "nobody", "version": 1}'
        bodies = ["gibberish", "[]", unknown]
        await bench.queue.send([Outgoing("", "default", body) for body in bodies])
        await bench.submit("g")
        async with bench.worker():
            await bench.ends("g")
            await bench.queue_is_empty()
        dead = {letter.body: letter.reason for letter in await bench.dead()}
        assert set(dead) == set(bodies)
        assert "object" in dead["[]"]
        assert dead[unknown] == "there is no job nobody in the database"


NEWER = '{"id": "a", "version": 2, "job_id": {"twap": 1}, "job_group_id": "g"}'


async def test_a_message_of_a_later_version_is_put_back_and_others_are_served(
    tmp_path: Path,
) -> None:
    async with message_bench(tmp_path) as bench:
        await bench.queue.send([Outgoing("", "default", NEWER)])
        await bench.submit("g")
        async with bench.worker():
            await bench.ends("g")
        # It is there for a newer worker, after a rest.
        [message] = await bench.messages()
        assert message.body == NEWER
        assert await bench.dead() == []


async def test_a_message_of_a_later_version_that_nobody_takes_is_a_dead_letter(
    tmp_path: Path,
) -> None:
    async with message_bench(tmp_path, timings=Timings(too_new_receives=0)) as bench:
        await bench.queue.send([Outgoing("", "default", NEWER)])
        async with bench.worker():
            await bench.queue_is_empty()
        [letter] = await bench.dead()
        assert letter.reason.startswith("version: the message has version '2', and this worker")


def foreign(group: str, *, start: int = 0, end: int = END, proof_type: str = "lab") -> str:
    """Write a message as another service does, which knows four fields."""
    return (
        f'{{"job_id": "{proof_type}", "job_group_id": "{group}", '
        f'"start_timestamp": {start}, "end_timestamp": {end}}}'
    )


async def test_a_message_of_another_sender_is_adopted_and_its_copies_are_one_job(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    async with message_bench(tmp_path, other_senders=True, clock=clock, worker_slots=2) as bench:
        copies = [foreign("g"), foreign("g").replace("{", '{"id": 7, "x": null, ')] * 4
        await bench.queue.send([Outgoing("", "default", body) for body in copies])
        async with bench.worker(), bench.worker():
            await comes_to(1, lambda: members(bench, "g"))
            job = await bench.ends("g")
            # A copy that came while the job was leased is hidden for the rest of the lease.
            while await bench.messages():
                clock.advance(bench.settings.lease_seconds)
                await asyncio.sleep(0.01)
        assert (job.state, job.attempts, job.losses) == (S.SUCCEEDED, 1, 0)
        assert (job.proof_type, job.queue) == ("lab", "default")
        assert await bench.dead() == []
        shown = await bench.service.status("g")
        assert (shown.status, len(shown.jobs)) == (S.SUCCEEDED, 1)


async def test_a_message_of_another_sender_is_a_dead_letter_unless_such_are_wanted(
    tmp_path: Path,
) -> None:
    """Whoever may write to the queue could have jobs computed, or wake those that are there."""
    async with message_bench(tmp_path) as bench:
        await bench.submit("ours")
        bodies = [foreign("g"), foreign("ours"), foreign("g").replace("{", '{"id": 7, ')]
        await bench.queue.send([Outgoing("", "default", body) for body in bodies])
        async with bench.worker():
            await comes_to(3, lambda: dead(bench))
            assert (await bench.ends("ours")).state is S.SUCCEEDED
        assert {letter.body: letter.reason for letter in await bench.dead()} == dict.fromkeys(
            bodies, NOT_OURS
        )
        assert await members(bench, "g") == 0


async def test_a_message_of_another_sender_wakes_the_job_that_is_there(tmp_path: Path) -> None:
    async with message_bench(tmp_path, other_senders=True) as bench:
        request = bench.service.parse(
            b'{"job_group_id": "g", "twap": {"start_timestamp": 0, "end_timestamp": 7200}}'
        )
        await bench.service.submit(request)
        job_id = (await bench.job("g")).id
        await bench.queue.lose_all()
        body = foreign("g", end=7200, proof_type="twap")
        await bench.queue.send([Outgoing("", "default", body)])
        async with bench.worker():
            job = await bench.ends("g")
            await bench.queue_is_empty()
        assert (job.id, job.state, job.attempts) == (job_id, S.SUCCEEDED, 1)
        assert await bench.dead() == []


async def test_a_group_gains_what_another_sender_asks_for_and_keeps_what_it_has(
    tmp_path: Path,
) -> None:
    async with message_bench(tmp_path, other_senders=True) as bench:
        await bench.submit("g")
        (ours,) = await bench.jobs.group("g")
        bodies = [foreign("g", proof_type="twap"), foreign("g", start=3600)]
        await bench.queue.send([Outgoing("", "default", body) for body in bodies])
        async with bench.worker():
            await comes_to(2, lambda: members(bench, "g"))
            await bench.queue_is_empty()
            jobs = {job.proof_type: job for job in await bench.jobs.group("g")}
        assert {job.state for job in jobs.values()} == {S.SUCCEEDED}
        assert (jobs["lab"].id, jobs["lab"].parameters) == (ours.id, ours.parameters)
        (letter,) = await bench.dead()
        assert letter.body == bodies[1]
        assert letter.reason.startswith(
            "job group 'g' has a job 'lab' already, with other parameters: {"
        )


async def test_what_a_plugin_refuses_is_not_adopted(tmp_path: Path) -> None:
    async with message_bench(tmp_path, other_senders=True) as bench:
        bodies = [foreign("a", start=13), foreign("b", start=14), foreign("c", proof_type="lobby")]
        await bench.queue.send([Outgoing("", "default", body) for body in bodies])
        async with bench.worker():
            await comes_to(3, lambda: dead(bench))
        reasons = {letter.body: letter.reason for letter in await bench.dead()}
        assert reasons == {
            bodies[0]: "lab.start_timestamp: brings bad luck",
            bodies[1]: "plugin lab: its hook validate raised ValueError: out of luck",
            bodies[2]: "job_id: 'lobby' is not an installed proof type (installed: lab, twap)",
        }
        assert (await bench.service.find(GroupQuery())).groups == ()


async def test_a_database_that_refuses_is_no_reason_to_bury_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with message_bench(tmp_path, other_senders=True, lease_seconds=1.0) as bench:
        enqueue = bench.jobs.enqueue
        troubles = [StoreError("no space left")]

        async def troubled(*arguments: Any) -> Any:
            if troubles:
                raise troubles.pop()
            return await enqueue(*arguments)

        monkeypatch.setattr(bench.jobs, "enqueue", troubled)
        await bench.queue.send([Outgoing("", "default", foreign("g"))])
        async with bench.worker():
            await comes_to(1, lambda: members(bench, "g"))
            assert (await bench.ends("g")).state is S.SUCCEEDED
        assert await bench.dead() == []


async def test_the_message_of_a_final_job_is_removed(tmp_path: Path) -> None:
    async with message_bench(tmp_path) as bench:
        await bench.submit("g")
        await bench.jobs.cancel("g")
        async with bench.worker():
            await bench.queue_is_empty()
        job = await bench.job("g")
        assert (job.state, job.attempts) == (S.CANCELLED, 0)


async def test_the_message_of_a_waiting_job_is_removed_and_sent_again_when_due(
    tmp_path: Path,
) -> None:
    async with message_bench(tmp_path) as bench:
        job_id = await bench.submit("g")
        taken = await bench.jobs.take(job_id, worker="another", lease_seconds=60)
        assert isinstance(taken, Taken)
        why = Failure("data_not_yet", "why")
        await bench.jobs.wait(taken.lease, why, poll_seconds=600, deadline_seconds=6000)
        async with bench.worker():
            await bench.queue_is_empty()
            assert (await bench.job("g")).state is S.WAITING
            await bench.jobs.wake_waiting()
            assert (await bench.ends("g")).state is S.SUCCEEDED


async def test_the_message_of_a_leased_job_is_hidden_for_the_rest_of_the_lease(
    tmp_path: Path,
) -> None:
    async with message_bench(tmp_path) as bench:
        job_id = await bench.submit("g")
        taken = await bench.jobs.take(job_id, worker="another", lease_seconds=600)
        assert isinstance(taken, Taken)
        until = await bench.now_ms() + 600_000
        async with bench.worker():
            await comes_to(1, lambda: hidden(bench, until))
            job = await bench.job("g")
            assert (job.state, job.worker, job.attempts) == (S.RUNNING, "another", 1)


async def test_the_message_of_a_job_that_is_not_due_is_hidden_until_it_is(tmp_path: Path) -> None:
    async with message_bench(tmp_path, retry_seconds=200.0) as bench:
        job_id = await bench.submit("g")
        taken = await bench.jobs.take(job_id, worker="another", lease_seconds=600)
        assert isinstance(taken, Taken)
        await bench.jobs.retry(taken.lease, Failure("compute_raised", "why"), jitter=0.0)
        not_before = (await bench.job("g")).not_before
        async with bench.worker():
            await comes_to(1, lambda: hidden(bench, not_before))
            assert (await bench.job("g")).attempts == 1


async def test_the_message_of_a_job_that_is_long_not_due_is_removed_and_sent_in_time(
    tmp_path: Path,
) -> None:
    clock = ManualClock()

    async with message_bench(tmp_path, clock=clock) as bench:
        parameters = f'{{"start_timestamp": 0, "end_timestamp": {END}}}'
        later = NewJob("j", "lab", parameters, "default", delay_seconds=3600)
        (job,) = (await bench.jobs.submit(NewGroup("g", (later,)))).jobs
        # SQS holds a message back for a quarter of an hour at the most, a FIFO queue not at all.
        await bench.service.send([attrs.evolve(job, sends=1)])
        async with bench.worker():
            await bench.queue_is_empty()
            assert (await bench.job("g")).attempts == 0
            clock.ms = job.not_before
            job = await bench.ends("g")
        assert (job.state, job.attempts) == (S.SUCCEEDED, 1)


async def test_a_worker_takes_no_more_messages_than_it_has_slots(tmp_path: Path) -> None:
    async with message_bench(tmp_path, worker_slots=2) as bench:
        for group in "abcd":
            await bench.submit(group, "hold")
        async with bench.worker():
            await bench.holding("a")
            await bench.holding("b")
            counts = [message.receive_count for message in await bench.messages()]
            assert counts == [1, 1, 0, 0]
            for group in "abcd":
                bench.let_go(group)
            for group in "abcd":
                assert (await bench.ends(group)).state is S.SUCCEEDED


async def test_what_is_expected_to_begin_at_once_is_taken_ahead(tmp_path: Path) -> None:
    async with message_bench(tmp_path, timings=Timings(prefetch_seconds=HANG_SECONDS)) as bench:
        await bench.submit("quick")
        async with bench.worker():
            await bench.ends("quick")
            await bench.submit("long", "hold")
            await bench.holding("long")
            await bench.submit("next")
            await bench.reaches("next", S.RUNNING)
            assert (await bench.job("long")).state is S.RUNNING
            bench.let_go("long")
            for group in ("long", "next"):
                job = await bench.ends(group)
                assert (job.state, job.attempts) == (S.SUCCEEDED, 1)


async def test_a_worker_that_knows_no_pace_takes_what_it_has_slots_for(tmp_path: Path) -> None:
    async with message_bench(tmp_path) as bench:
        await bench.submit("long", "hold")
        async with bench.worker():
            await bench.holding("long")
            await bench.submit("next")
            async with bench.worker():
                assert (await bench.ends("next")).state is S.SUCCEEDED
            bench.let_go("long")


async def test_what_was_taken_ahead_in_vain_is_given_back_to_others(tmp_path: Path) -> None:
    async with message_bench(tmp_path, timings=Timings(prefetch_seconds=0.3)) as bench:
        await bench.submit("long", "hold")
        async with bench.worker() as worker:
            await bench.holding("long")
            worker._executor.mean_duration.note(0.001)
            worker._room.look_again()
            await bench.submit("next")
            await bench.reaches("next", S.RUNNING)
            job = await bench.reaches("next", S.QUEUED)
            assert (job.attempts, job.losses, job.error_code) == (0, 0, None)
            async with bench.worker():
                job = await bench.ends("next")
            assert (job.state, job.attempts) == (S.SUCCEEDED, 1)
            assert (await bench.job("long")).state is S.RUNNING
            bench.let_go("long")
