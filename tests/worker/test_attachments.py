"""What a computation attaches is stored with its result, or not at all."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from attaching_plugin import ATTACHING_PLUGIN, content
from plugin_files import write_plugin
from worker_bench import Bench, open_bench

from prover_framework.errors import StoreError
from prover_framework.jobs.attachments import AttachmentStore
from prover_framework.jobs.records import StoredJob
from prover_framework.model.jobs import JobState
from prover_framework.model.proofs import GroupRequest, JobRequest
from prover_framework.plugins import loading
from prover_framework.plugins.registry import Plugins

pytestmark = pytest.mark.usefixtures("lab_module")


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    candidate = write_plugin(tmp_path / "modules", "attaching", ATTACHING_PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return loading.load([candidate], strict=True)


@pytest.fixture
async def bench(tmp_path: Path, database_url: str) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path, headers=False, database_url=database_url) as bench:
        yield bench


@asynccontextmanager
async def submitted(
    bench: Bench, plugins: Plugins, sizes: Mapping[str, int], trick: str = ""
) -> AsyncIterator[StoredJob]:
    parameters = plugins.for_type("attaching").proof_type.parameters(sizes=sizes, trick=trick)
    service = type(bench.service)(plugins, bench.jobs, bench.runtime.queue)
    try:
        await service.submit(GroupRequest("g", [JobRequest("attaching", parameters)]))
        async with bench.worker(plugins):
            yield await bench.ends("g")
    finally:
        await service.close()


async def attached(bench: Bench, job: StoredJob) -> dict[str, bytes]:
    """Return what is stored beside a job, by name."""
    store = AttachmentStore(bench.database)
    names = await bench.database.read("SELECT name FROM attachment WHERE job_id = ?", [job.id])
    found = {}
    for (name,) in names:
        attachment_id = await store.find(job.id, name)
        if attachment_id is not None:
            found[name] = b"".join([chunk async for chunk in store.chunks(attachment_id)])
    return found


def stated(job: StoredJob) -> dict[str, Any]:
    assert job.receipt is not None
    statement: dict[str, Any] = json.loads(job.receipt)["statement"]
    return statement


SIZES = {"large.bin": 3 * 2**20 + 17, "empty.txt": 0}


async def test_what_is_attached_is_stored_beside_the_job_and_stated(
    bench: Bench, plugins: Plugins
) -> None:
    async with submitted(bench, plugins, SIZES) as job:
        assert job.state is JobState.SUCCEEDED, job.error_message
        assert await attached(bench, job) == {name: content(size) for name, size in SIZES.items()}
        assert stated(job)["attachments"] == {
            name: {
                "media_type": "text/csv",
                "size": size,
                "sha256": sha256(content(size)).hexdigest(),
            }
            for name, size in SIZES.items()
        }
        assert await counted(bench, "attachment_chunk") == 13, "pieces of 256 KiB"


async def counted(bench: Bench, table: str) -> int:
    ((count,),) = await bench.database.read(f"SELECT COUNT(*) AS count FROM {table}")
    return int(count)


@pytest.mark.parametrize(
    ("sizes", "trick", "said"),
    [
        (SIZES, "link", "its attachments are spoiled: empty.txt"),
        (SIZES, "fifo", "its attachments are spoiled: empty.txt is no file"),
        (SIZES, "grow", "its attachments are spoiled: there are more bytes than its Limits allow"),
        ({"a": 4 * 2**20 + 1}, "", "attached a of more than 4,194,304 bytes, which its Limits"),
        ({"a": 4 * 2**20, "b": 3 * 2**20}, "", "attached more than 6,291,456 bytes in all"),
        (dict.fromkeys("abcd", 1), "", "attached d, and its Limits allow 3 attachments"),
        ({"../a": 1}, "", "attached '../a': a name has 1 to 64 lower-case"),
    ],
)
async def test_what_is_attached_amiss_is_the_plugins_fault_at_once(
    bench: Bench, plugins: Plugins, sizes: Mapping[str, int], trick: str, said: str
) -> None:
    async with submitted(bench, plugins, sizes, trick) as job:
        assert (job.state, job.attempts, job.error_code) == (
            JobState.FAILED,
            1,
            "result_invalid",
        ), job.error_message
        assert said in (job.error_message or "")
        assert await counted(bench, "attachment") == 0


async def test_an_attempt_that_fails_has_attached_nothing(bench: Bench, plugins: Plugins) -> None:
    async with submitted(bench, plugins, SIZES, "fail") as job:
        assert (job.state, job.error_code) == (JobState.FAILED, "compute_raised")
        assert await counted(bench, "attachment") == 0
    assert not [*bench.settings.work_path.rglob("*")], "nothing is left on the disk"


async def test_a_database_that_is_away_for_a_moment_loses_nothing(
    bench: Bench, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What took minutes to compute is not thrown away."""
    add, calls = AttachmentStore.add, [0]

    async def refuse_some(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] in (2, 3):
            raise StoreError("away")
        await add(*arguments)

    monkeypatch.setattr(AttachmentStore, "add", refuse_some)
    async with submitted(bench, plugins, SIZES) as job:
        assert (job.state, job.attempts) == (JobState.SUCCEEDED, 1)
        assert await attached(bench, job) == {name: content(size) for name, size in SIZES.items()}


async def test_a_job_that_is_cancelled_while_it_is_stored_leaves_nothing(
    bench: Bench, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = AttachmentStore.add

    async def cancel_first(*arguments: Any) -> None:
        await bench.jobs.cancel("g")
        await add(*arguments)

    monkeypatch.setattr(AttachmentStore, "add", cancel_first)
    async with submitted(bench, plugins, SIZES) as job:
        assert job.state is JobState.CANCELLED
    await AttachmentStore(bench.database).remove_left()
    assert await counted(bench, "attachment") == await counted(bench, "attachment_chunk") == 0
