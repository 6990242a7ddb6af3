"""What computations keep on this machine between the attempts at a job."""

import asyncio
import fcntl
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from prover_framework.jobs.store import JobStore

log = logging.getLogger(__name__)

# How often to look for what is left of jobs that have ended elsewhere.
CLEAN_SECONDS = 30.0

# The names of what is ours: unique ids of jobs.
JOB_DIRECTORY = re.compile(r"[0-9a-f]{32}")

# Whoever has this file locked has the directory.
LOCK = "lock"


class KeptDirectories:
    """The directories of jobs, each under the job's unique id, until the job has ended.

    Several workers of a machine share them.

    Args:
        root: Where they are. It is made with the first of them.
        jobs: Tell which jobs have ended.
    """

    def __init__(self, root: Path, jobs: JobStore) -> None:
        self._root = root
        self._jobs = jobs
        # What has a directory here by an attempt of this process.
        self._lent: set[str] = set()

    @contextmanager
    def lent(self, job_id: str) -> Iterator[Path | None]:
        """Lend the directory of a job to one attempt.

        None where it is not to be had: an attempt before, whose lease is lost, may not have ended
        yet, and two that write to one directory would each read what the other has half written.
        Then, and where the disk is full, the attempt begins without.
        """
        directory = self._root / job_id
        self._lent.add(job_id)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            log.warning("job %s keeps nothing on this machine: %s", job_id, error)
            yield None
            return
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                log.info("job %s: an attempt before has its directory still", job_id)
                yield None
            else:
                yield directory
        finally:
            os.close(lock)

    async def clean(self, ids: Sequence[str] | None = None) -> None:
        """Remove the directories of those jobs that have ended.

        Args:
            ids: Unique ids of jobs, of which only those are looked at that were lent one by this
                object; all that have a directory here when None.

        Raises:
            StoreError: The database cannot be used.
        """
        if ids is None:
            kept = await asyncio.to_thread(self._kept)
            # Others of this machine may have removed some.
            self._lent.intersection_update(kept)
        else:
            # Most jobs have none, and to ask the system for each is dear.
            kept = [job_id for job_id in ids if job_id in self._lent]
        if kept:
            for job_id in sorted(await self._jobs.ended(kept)):
                await asyncio.to_thread(self._remove, job_id)
                self._lent.discard(job_id)

    def _kept(self) -> list[str]:
        if not self._root.is_dir():
            return []
        return [each.name for each in self._root.iterdir() if JOB_DIRECTORY.fullmatch(each.name)]

    def _remove(self, job_id: str) -> None:
        try:
            shutil.rmtree(self._root / job_id)
        except FileNotFoundError:
            # Another worker was faster.
            return
        except OSError as error:
            log.warning("what job %s has kept is not removed yet: %s", job_id, error)
