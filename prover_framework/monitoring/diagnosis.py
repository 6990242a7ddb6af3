"""What is wrong with an installation, part by part, each with what mends it."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from attrs import frozen

from prover_framework.chain.store import RecentHeaders
from prover_framework.errors import ProverError
from prover_framework.files import FOR_OTHERS
from prover_framework.monitoring.sampling import Sample
from prover_framework.plugins.registry import Plugins
from prover_framework.seals.making import SignatureMaker
from prover_framework.settings import Settings
from prover_framework.variables import Unknown

# Below this the next import of headers may not fit.
FEW_BYTES = 2**30

# Leases and waits are the database's clock; receipts and ages of headers are seen by this one.
CLOCK_SECONDS = 5.0

# A block can be this much later than a clock that is right, by the rules of the chain.
FUTURE_SECONDS = 15.0


class Part(StrEnum):
    """What is looked at, in this order."""

    SETTINGS = "settings"
    PERMISSIONS = "permissions"
    PLUGINS = "plugins"
    KEYS = "keys"
    SCHEMA = "schema"
    HEADERS = "headers"
    QUEUE = "queue"
    CLOCK = "clock"


class Grade(StrEnum):
    """How a part is."""

    OK = "ok"
    WARNING = "warning"
    """The service works without it, or with it as it is."""
    PROBLEM = "problem"
    """The service does not work so."""


@frozen
class Finding:
    """One thing that was looked at.

    Args:
        part: Of what.
        grade: How it is.
        text: What was found.
        remedy: What mends it; empty where nothing is to be done.
    """

    part: Part
    grade: Grade
    text: str
    remedy: str = ""


def of_settings(settings: Settings, unknown: Sequence[Unknown]) -> Iterator[Finding]:
    """Look at the settings, which could be read."""
    for each in unknown:
        remedy = f"call it {each.nearest}, or unset it" if each.nearest else "unset it"
        yield Finding(Part.SETTINGS, Grade.WARNING, str(each), remedy)
    if settings.queue_urls and settings.embedded_file is not None:
        yield Finding(
            Part.SETTINGS,
            Grade.WARNING,
            "messages go through SQS and jobs are in a file of this machine",
            "set DATABASE_URL to a PostgreSQL that all machines reach, or keep to this one",
        )
    if settings.monitoring_port is None and settings.embedded_file is None:
        yield Finding(
            Part.SETTINGS,
            Grade.WARNING,
            "workers and sync can not be looked at from outside",
            "set PROVER_MONITORING_PORT, for each process on a machine to another port",
        )
    if not unknown:
        yield Finding(Part.SETTINGS, Grade.OK, f"data directory {settings.data_dir.absolute()}")


def of_permissions(settings: Settings) -> Iterator[Finding]:
    """Look at the directories that are written to, without making any."""
    for directory in {settings.data_dir.absolute(), settings.work_path}:
        there = next(path for path in (directory, *directory.parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            yield Finding(
                Part.PERMISSIONS,
                Grade.PROBLEM,
                f"{there} is no directory that user {os.geteuid()} can write to",
                f"chown it, or name another directory with PROVER_DATA_DIR ({directory})",
            )
            continue
        free = shutil.disk_usage(there).free
        if free < FEW_BYTES:
            yield Finding(
                Part.PERMISSIONS,
                Grade.WARNING,
                f"{there} has {free / 2**20:,.0f} MiB left",
                "make room, or move the data directory",
            )
    file = settings.embedded_file
    opened = [path for path in (file, settings.key_path) if path is not None and path.exists()]
    for path in opened:
        if mode := path.stat().st_mode & FOR_OTHERS:
            yield Finding(
                Part.PERMISSIONS,
                Grade.WARNING,
                f"{path} is open to others (…{mode:03o})",
                f"chmod go= {path}",
            )
    yield Finding(Part.PERMISSIONS, Grade.OK, f"looked at {settings.data_dir.absolute()}")


def of_plugins(plugins: Plugins, unknown: Sequence[Unknown] = ()) -> Iterator[Finding]:
    """Look at what was loaded."""
    for plugin in plugins.found:
        if plugin.failure is not None:
            yield Finding(
                Part.PLUGINS,
                Grade.WARNING,
                f"{plugin.candidate.name} is not used: {plugin.failure}",
                f"install a version of {plugin.candidate.distribution} that can be used, or leave "
                "it out with PROVER_PLUGINS_DISABLED",
            )
    for each in unknown:
        yield Finding(Part.PLUGINS, Grade.WARNING, str(each), "correct or unset it")
    if not plugins.hooks:
        yield Finding(
            Part.PLUGINS,
            Grade.PROBLEM,
            "no proof type is installed",
            "pip install the distributions of the proof types that you want",
        )
    else:
        yield Finding(Part.PLUGINS, Grade.OK, f"proof types: {', '.join(sorted(plugins.hooks))}")


def of_keys(signatures: SignatureMaker, directory: Path) -> Iterator[Finding]:
    """Look at the key that signs."""
    try:
        signer = signatures.signer()
    except ProverError as error:
        yield Finding(Part.KEYS, Grade.PROBLEM, str(error), "prover key create, or mend the file")
        return
    if signer is None:
        yield Finding(
            Part.KEYS,
            Grade.WARNING,
            f"receipts are not signed: there is no key in {directory.absolute()}",
            "prover key create",
        )
    else:
        yield Finding(Part.KEYS, Grade.OK, f"receipts are signed by key {signer.key_id}")


def of_headers(settings: Settings, sample: Sample) -> Iterator[Finding]:
    """Look at the headers of the newest week."""
    headers = sample.headers
    if headers is None:
        yield Finding(
            Part.HEADERS,
            Grade.WARNING,
            "there are no headers, so every job waits",
            "prover headers sync --follow --from-time SECONDS",
        )
        return
    if headers.missing_blocks:
        yield Finding(
            Part.HEADERS,
            Grade.WARNING,
            f"{headers.missing_blocks:,} blocks of the newest week are missing",
            "prover headers status names them; prover headers sync --from-block fetches them",
        )
    yield _age(settings, headers, sample.at or 0.0)


def _age(settings: Settings, headers: RecentHeaders, now: float) -> Finding:
    most, age = settings.max_headers_lag_seconds, now - headers.newest_timestamp
    text = f"the newest is block {headers.newest_block:,}, {max(0.0, age):,.0f} s old"
    if headers.chain.simulated:
        return Finding(
            Part.HEADERS,
            Grade.WARNING,
            f"the chain is simulated, its numbers settle nothing; {text}",
            "use another PROVER_DATA_DIR or DATABASE_URL for a real chain",
        )
    if most is not None and age > most:
        return Finding(
            Part.HEADERS,
            Grade.WARNING,
            f"{text}, more than PROVER_MAX_HEADERS_LAG_SECONDS={most:g}",
            "see whether prover headers sync --follow runs, and what it logs",
        )
    return Finding(Part.HEADERS, Grade.OK, text)


def of_queues(sample: Sample) -> Iterator[Finding]:
    """Look at the queues."""
    for name, status in sample.queues.items():
        if status is None:
            yield Finding(
                Part.QUEUE,
                Grade.PROBLEM,
                f"{name}: {sample.problems.get('queue', 'it does not answer')}",
                "look at SQS_QUEUE_URL, AWS_REGION and the credentials; prover queue create makes "
                "a queue",
            )
        elif status.dead_letters is None:
            yield Finding(
                Part.QUEUE,
                Grade.WARNING,
                f"{name}: it has no dead-letter queue",
                "prover queue create gives it one",
            )
        elif status.dead_letters:
            yield Finding(
                Part.QUEUE,
                Grade.WARNING,
                f"{name}: {status.dead_letters:,} dead letters",
                "prover dead list",
            )
        else:
            yield Finding(Part.QUEUE, Grade.OK, f"{name}: {status.visible:,} messages wait")


def of_clock(sample: Sample, clock: float | None = None) -> Iterator[Finding]:
    """Compare this machine's clock with the database's, and with the newest block."""
    now = time.time() if clock is None else clock
    if sample.at is None:
        return
    off = now - sample.at
    newest = sample.headers
    remedy = "synchronise the clocks (NTP)"
    if abs(off) > CLOCK_SECONDS:
        yield Finding(
            Part.CLOCK,
            Grade.WARNING,
            f"this machine's clock is {off:+.0f} s from the database's",
            remedy,
        )
    elif newest and not newest.chain.simulated and newest.newest_timestamp > now + FUTURE_SECONDS:
        ahead = newest.newest_timestamp - now
        text = f"the newest block is {ahead:.0f} s later than this machine's clock"
        yield Finding(Part.CLOCK, Grade.WARNING, text, remedy)
    else:
        yield Finding(Part.CLOCK, Grade.OK, f"within {CLOCK_SECONDS:g} s of the database's")
