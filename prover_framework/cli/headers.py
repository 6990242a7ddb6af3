"""``prover headers``: the chain data."""

import asyncio
import gc
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import attrs
import click
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from prover_framework.chain.headers import Batch
from prover_framework.chain.ingest import ChainFacts, ImportReport, Unverified, batches_of
from prover_framework.chain.rule_book import read_rule_book
from prover_framework.chain.rules import ChainRules
from prover_framework.chain.sources import simulated
from prover_framework.chain.sources.base import CONFIRMATIONS, TAGS
from prover_framework.chain.sources.csv_file import FileNotes, in_wei, read_batches
from prover_framework.chain.sources.opening import open_indexer, open_node
from prover_framework.chain.store import SHOWN_GAPS, Gap, HeaderStatus
from prover_framework.chain.sync import (
    CaughtUp,
    Fetched,
    HeaderSync,
    Replaced,
    SyncEvent,
    SyncRange,
    Trouble,
)
from prover_framework.cli.common import (
    console,
    in_seconds,
    progress_console,
    run,
    settings,
    stored,
    telling_of_new,
    until_signalled,
)
from prover_framework.database.opening import open_database
from prover_framework.errors import HeaderConflict, SettingsError, SourceUnreachable
from prover_framework.jobs.headers import header_store
from prover_framework.logs import LogForm, start_logging
from prover_framework.logs import Trouble as LastingTrouble
from prover_framework.model.names import MAX_INT64
from prover_framework.model.series import HOUR_SECONDS
from prover_framework.monitoring.syncing import SyncMonitoring
from prover_framework.settings import Settings
from prover_framework.systemd import Systemd, alive
from prover_framework.text import LAST_DATED_SECOND

log = logging.getLogger(__name__)

# How rarely a chain that cannot be followed is told of, in the end.
LONGEST_TROUBLE_SECONDS = 300.0

# New objects after which Python looks for circles: more than the headers of a transaction make.
COLLECT_AFTER = 50_000

# Ethereum mainnet.
DEFAULT_CHAIN_ID = 1

# Chosen not to be any public chain's.
SIMULATED_CHAIN_ID = 1559_1559

# How often a line tells how far a sync is, where there is no terminal for a bar.
LINE_SECONDS = 10.0


@click.group()
def headers() -> None:
    """Load block headers and see what is there."""


@headers.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--chain-id",
    type=click.IntRange(1, MAX_INT64),
    default=DEFAULT_CHAIN_ID,
    show_default=True,
    help="Chain that the headers belong to.",
)
def import_(file: Path, chain_id: int) -> None:
    """Import headers from a FILE of CSV or Parquet, by parts that each go in whole.

    The first line names the columns, as ethereum-etl, cryo, BigQuery, Dune, ethers or viem do;
    number, timestamp and base_fee_per_gas are needed, gas_used, gas_limit, block_hash and
    parent_hash are taken in when they are there. With a column for every field of a header, headers
    are whole and are verified; the command says what was not, and why. Numbers are decimal or 0x
    hex, times Unix seconds or dates with a zone. The file may be compressed with gzip or zstd.
    Importing it again changes nothing; headers that contradict stored ones are refused.
    """
    facts = ChainFacts(chain_id, simulated=False, source=f"file {file.name}")
    with _progress() as progress:
        size = file.stat().st_size if file.is_file() else None
        importing = progress.add_task("importing", total=size)
        notes = FileNotes()
        new = read_batches(file, lambda done: progress.update(importing, completed=done), notes)
        report = _store(in_wei(new, chain_id), facts)
    click.echo(_summary(report))
    for line in _unverified(report, notes, settings(), facts):
        click.echo(line)


@headers.command()
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=90,
    show_default=True,
    help="How many days of headers.",
)
@click.option(
    "--end",
    type=click.IntRange(1, LAST_DATED_SECOND),
    callback=in_seconds,
    help="Unix timestamp at which the last whole hour ends. Default: the last full hour.",
)
@click.option(
    "--seed",
    type=int,
    default=simulated.DEFAULT_SEED,
    show_default=True,
    help="Another seed makes another market.",
)
def simulate(days: int, end: int | None, seed: int) -> None:
    """Make up a chain of that many days for demonstrations.

    It obeys EIP-1559 under a daily and weekly demand cycle. The database and every result made
    from it say that it is simulated. It ends with a block after its last whole hour.
    """
    end_hour = (int(time.time()) if end is None else end) // HOUR_SECONDS * HOUR_SECONDS
    hours = days * 24
    first_hour = end_hour - hours * HOUR_SECONDS
    if first_hour < 0:
        raise click.BadParameter("lies too early for that many days", param_hint="--end")
    facts = ChainFacts(SIMULATED_CHAIN_ID, simulated=True, source=f"simulation, seed {seed}")
    with _progress() as progress:
        try:
            storing = progress.add_task("storing", total=hours * simulated.BLOCKS_PER_HOUR + 1)
            report = _store(
                batches_of(simulated.simulate(first_hour, hours, seed=seed)),
                facts,
                lambda done: progress.update(storing, completed=done),
            )
        except HeaderConflict as error:
            raise HeaderConflict(
                f"{error}. A simulated chain cannot be mixed with another one, nor with itself "
                "under another --days, --end or --seed: use another database (PROVER_DATA_DIR)"
            ) from None
    click.echo(
        f"{report.new} simulated headers, hours {_utc(first_hour)} to {_utc(end_hour)} "
        f"({first_hour}..{end_hour})"
    )


@headers.command()
@click.option("--rpc-url", help="JSON-RPC endpoint of a node; overrides PROVER_RPC_URL.")
@click.option(
    "--indexer-url",
    help="PostgreSQL database with a table blockheaders; overrides PROVER_INDEXER_URL.",
)
@click.option(
    "--tag",
    type=click.Choice(TAGS),
    default=TAGS[0],
    show_default=True,
    help="Which block of the node's is followed. Only finalized ones never give way to others.",
)
@click.option(
    "--confirmations",
    type=click.IntRange(0, MAX_INT64),
    default=CONFIRMATIONS,
    show_default=True,
    help="How many blocks have to follow one before it is taken from an indexer.",
)
@click.option(
    "--light",
    is_flag=True,
    help="Take from an indexer only what the base fee needs, which cannot be verified.",
)
@click.option("--chain-id", type=click.IntRange(1, MAX_INT64), help="Chain that it has to be.")
@click.option("--from-block", type=click.IntRange(0, MAX_INT64), help="Begin with this block.")
@click.option(
    "--from-time",
    type=click.IntRange(0, MAX_INT64),
    callback=in_seconds,
    help="Begin with the last block at or before this Unix timestamp.",
)
@click.option("--to-block", type=click.IntRange(0, MAX_INT64), help="End with this block.")
@click.option(
    "--to-time",
    type=click.IntRange(0, MAX_INT64),
    callback=in_seconds,
    help="End with the first block at or after this Unix timestamp.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 1000),
    help="Blocks in one request; overrides PROVER_RPC_BATCH.",
)
@click.option(
    "--per-second",
    type=click.FloatRange(0, min_open=True),
    help="Requests a second, at most; overrides PROVER_RPC_REQUESTS_PER_SECOND.",
)
@click.option("--follow", is_flag=True, help="Go on with new blocks until stopped.")
def sync(
    *,
    rpc_url: str | None,
    indexer_url: str | None,
    tag: str,
    confirmations: int,
    light: bool,
    chain_id: int | None,
    from_block: int | None,
    from_time: int | None,
    to_block: int | None,
    to_time: int | None,
    batch: int | None,
    per_second: float | None,
    follow: bool,
) -> None:
    """Fetch the headers that are missing from a node or an indexer, verify and store them.

    It goes on after the newest header that is stored, or begins where --from-block or --from-time
    says, which may lie before it: what is there and whole is not fetched again. A header that does
    not verify is refused. When the chain has taken another branch, the stored tail gives way to
    it. Jobs that wait for headers go on.

    A URL with a key or a password in it is better set as PROVER_RPC_URL or PROVER_INDEXER_URL:
    command lines can be seen by others.
    """
    if rpc_url is not None and indexer_url is not None:
        raise click.UsageError("--rpc-url and --indexer-url exclude each other")
    if from_block is not None and from_time is not None:
        raise click.UsageError("--from-block and --from-time exclude each other")
    if to_block is not None and to_time is not None:
        raise click.UsageError("--to-block and --to-time exclude each other")
    chosen = settings()
    chosen = attrs.evolve(
        chosen,
        # What the command line names is meant, whatever else is set.
        rpc_url=rpc_url or (None if indexer_url else chosen.rpc_url),
        indexer_url=indexer_url or (None if rpc_url else chosen.indexer_url),
        rpc_batch=batch or chosen.rpc_batch,
        rpc_requests_per_second=per_second or chosen.rpc_requests_per_second,
    )
    if chosen.rpc_url and chosen.indexer_url:
        raise SettingsError(
            "PROVER_RPC_URL and PROVER_INDEXER_URL are both set: choose by --rpc-url or "
            "--indexer-url"
        )
    wanted = SyncRange(
        from_block=from_block, from_time=from_time, to_block=to_block, to_time=to_time
    )
    start_logging(chosen.log_level, LogForm(chosen.log_format))
    without_rule: list[str] = []
    with _progress() as progress:
        told = SyncReport(progress, follow=follow)

        async def work() -> None:
            opened = (
                open_indexer(chosen, confirmations=confirmations, light=light)
                if chosen.indexer_url
                else open_node(chosen, tag)
            )
            async with opened as source, open_database(chosen) as database:
                store = header_store(database, chosen)
                monitoring = SyncMonitoring(chosen, database, store)

                def on_event(event: SyncEvent) -> None:
                    monitoring.note(event)
                    told(event)

                sync = HeaderSync(source, store, chain_id=chain_id, on_event=on_event)
                systemd = Systemd.of(os.environ)
                async with _seen(chosen, monitoring if follow else None), alive(systemd):
                    systemd.ready()
                    await sync.run(wanted, chosen.follow_seconds if follow else None)
                if (facts := await store.chain()) is not None:
                    without_rule.extend(_no_fee_rule(store.rules_of(facts)))

        stopped = run(until_signalled(work()))
    for line in (told.summary(stopped=stopped), *without_rule):
        click.echo(line)
    if not stopped and told.nothing_to_follow:
        click.echo(
            f"prover: there is no {tag} block yet, so nothing was fetched; "
            f"follow another one with --tag {TAGS[-1]}"
            if not chosen.indexer_url
            else f"prover: no block has {confirmations} others after it yet (--confirmations)",
            err=True,
        )
        raise click.exceptions.Exit(1)
    if chosen.indexer_url and confirmations and not follow:
        click.echo(
            f"the newest {confirmations} blocks of the indexer are left for later (--confirmations)"
        )


@asynccontextmanager
async def _seen(chosen: Settings, monitoring: SyncMonitoring | None) -> AsyncIterator[None]:
    """Let others look at the process while the body runs, where the settings name a port."""
    if monitoring is None or chosen.monitoring_port is None:
        yield
        return
    # Imported where it is used: a server takes most of the time that a command takes to start.
    from prover_framework.web.server import Exposure, serve_monitoring

    exposure = Exposure(is_open=chosen.is_open, allowed_hosts=chosen.allowed_hosts)
    stopping = asyncio.Event()
    host, port = chosen.monitoring_host, chosen.monitoring_port
    serving = asyncio.create_task(
        serve_monitoring(monitoring, host, port, stopping, exposure=exposure)
    )
    # An address that cannot be listened on is told before anything is fetched.
    await asyncio.wait({serving}, timeout=0)
    try:
        if serving.done():
            serving.result()
        yield
    finally:
        stopping.set()
        await asyncio.gather(serving, return_exceptions=True)


class SyncReport:
    """Tells people what a sync does: a bar at first, then a line for what comes in.

    Args:
        progress: Where the bar is.
        follow: Whether the sync goes on with what is new.
        line_seconds: How often a line tells how far it is, where there is no terminal for a bar.
    """

    def __init__(
        self, progress: Progress, *, follow: bool, line_seconds: float = LINE_SECONDS
    ) -> None:
        self._progress = progress
        self._line_seconds = line_seconds
        self._bar = progress.add_task("fetching", total=None)
        self._follow = follow
        self._begin: int | None = None
        self._caught_up = False
        self._fetched = self._new = self._verified = 0
        self._last: int | None = None
        self._reached: CaughtUp | None = None
        self._next_line = time.monotonic() + line_seconds
        self._trouble = LastingTrouble(
            "following the chain", log, longest_seconds=LONGEST_TROUBLE_SECONDS
        )

    @property
    def nothing_to_follow(self) -> bool:
        """Whether the source had no block under the tag, and nothing was fetched."""
        return self._reached is not None and self._reached.block is None and not self._fetched

    def __call__(self, event: SyncEvent) -> None:
        """Take in what the sync does next."""
        match event:
            case Fetched():
                self._count(event)
            case Replaced():
                click.echo(
                    f"the chain has taken another branch after block {event.after_block}: "
                    f"{event.dropped} stored headers have given way to {event.new}"
                )
            case Trouble():
                self._trouble.failed(SourceUnreachable(event.message))
            case CaughtUp():
                self._trouble.passed()
                self._reached = event
                if self._follow and not self._caught_up:
                    click.echo(self.summary(stopped=False))
                self._caught_up = True

    def _count(self, event: Fetched) -> None:
        self._fetched += event.last_block - event.first_block + 1
        self._new += event.new
        self._verified += event.verified
        self._last = event.last_block
        if self._caught_up:
            click.echo(
                f"blocks {event.first_block} to {event.last_block}: {event.new} new headers, "
                f"{event.verified} verified"
            )
            return
        self._begin = event.first_block if self._begin is None else self._begin
        if time.monotonic() >= self._next_line and self._progress.live.console.is_terminal is False:
            self._next_line = time.monotonic() + self._line_seconds
            log.info("block %d of %d to %d", event.last_block, self._begin, event.end)
        self._progress.update(
            self._bar,
            total=event.end - self._begin + 1,
            completed=event.last_block - self._begin + 1,
        )

    def summary(self, *, stopped: bool) -> str:
        """Return in a sentence what all came to."""
        up_to = "" if self._last is None else f", up to block {self._last}"
        end = "; stopped" if stopped else self._why_nothing()
        return (
            f"{self._fetched} headers fetched, {self._new} of them new, {self._verified} "
            f"verified{up_to}{end}"
        )

    def _why_nothing(self) -> str:
        """Say why nothing was fetched, where that is so."""
        if self._fetched or self._reached is None or self._reached.block is None:
            return ""
        block, following = self._reached.block, self._reached.next_block
        if block < following - 1:
            return f": the newest block there is {block}, and {following} is the next to fetch"
        return f": all up to block {following - 1} is stored"


@headers.command()
@click.option("--from-block", type=click.IntRange(0, MAX_INT64), help="Default: the first stored.")
@click.option(
    "--to-block",
    type=click.IntRange(0, MAX_INT64),
    help="Default: the last stored, or the one with the trusted hash.",
)
@click.option(
    "--trusted-hash",
    help="Hash of a block at or after the end that you trust, from a source of your own.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 256),
    help="How many processes share the work. Default: PROVER_WORKER_SLOTS, the number of cores.",
)
def verify(
    from_block: int | None, to_block: int | None, trusted_hash: str | None, processes: int | None
) -> None:
    """Verify the stored headers again, from the bytes that their hashes are made of.

    Each must have the hash of its bytes, name the hash of the block before it, have the base fee
    that follows from that block by EIP-1559, and say what is stored of it beside its bytes; and the
    hourly sums must be those of the headers. The first that is wrong is named with its block, field
    and rule. Anyone can make a chain that passes: it is the real one if it leads up to a block hash
    that you trust.

    The exit status is 1 when something is wrong, or the trusted hash is not found.
    """
    if trusted_hash is not None and not re.fullmatch(r"0[xX][0-9a-fA-F]{64}", trusted_hash):
        raise click.BadParameter("must be 0x and 64 hex digits", param_hint="--trusted-hash")
    # Imported where it is used: RLP and keccak double the time that a command takes to start.
    from prover_framework.chain.audit import ChainReport, verify_stored

    chosen = stored()
    began = time.monotonic()
    with _progress() as progress:
        bar = progress.add_task("verifying", total=None)

        async def work() -> ChainReport:
            async with open_database(chosen) as database:
                return await verify_stored(
                    header_store(database, chosen),
                    first=from_block,
                    last=to_block,
                    trusted=trusted_hash,
                    processes=processes or chosen.worker_slots,
                    on_progress=lambda done, total: progress.update(
                        bar, completed=done, total=total
                    ),
                )

        report = run(work())
    seconds = time.monotonic() - began
    count = len(report.span)
    click.echo(
        f"blocks {report.span.first.number} to {report.span.last.number} are verified: {count} "
        f"headers in {seconds:.1f} s"
    )
    if not report.whole_start:
        click.echo(
            f"the base fee of block {report.span.first.number} is not: the block before it is not "
            "stored"
        )
    if report.fee_rule is None:
        click.echo("their base fees are not checked: no rule is known for the chain")
    if trusted_hash is None:
        click.echo(
            "they are a chain; whether it is the one that you mean shows --trusted-hash with the "
            "hash of a later block that you trust"
        )
    elif report.trusted_block is None:
        after = "" if to_block is None else f" at or after block {to_block}"
        click.echo(f"prover: no block{after} has the trusted hash", err=True)
        raise click.exceptions.Exit(1)
    else:
        click.echo(
            f"block {report.trusted_block} has the trusted hash, so it and all before it are of "
            "the chain that you trust"
        )


@headers.command()
@click.option(
    "--from-block", type=click.IntRange(0, MAX_INT64), required=True, help="The first to take out."
)
@click.option(
    "--to-block", type=click.IntRange(0, MAX_INT64), required=True, help="The last to take out."
)
@click.option("--dry-run", is_flag=True, help="Only say what would be taken out.")
@click.option("--yes", is_flag=True, help="Do not ask for a confirmation.")
def remove(*, from_block: int, to_block: int, dry_run: bool, yes: bool) -> None:
    """Take stored headers out, such as those of a wrong import.

    Both ends are included. The block after them is no longer verified until the one before it is
    there again. When none are left, the database can take another chain. Results and receipts that
    were made from them stay as they are.
    """
    if to_block < from_block:
        raise click.UsageError("--to-block lies before --from-block")

    async def work(*, remove: bool) -> int:
        chosen = stored()
        async with open_database(chosen) as database:
            store = header_store(database, chosen)
            if remove:
                return await store.remove(from_block, to_block)
            return await store.count(from_block, to_block)

    found = run(work(remove=False))
    what = f"{found} headers from block {from_block} to block {to_block}"
    if dry_run or not found:
        click.echo(f"{what} would be taken out" if found else f"there are no {what[2:]}")
        return
    if not yes:
        click.confirm(f"take out {what}?", abort=True)
    click.echo(f"{run(work(remove=True))} headers taken out")


@headers.command()
def status() -> None:
    """Show which headers there are, and which are missing.

    The exit status is 1 when blocks or hours are missing in between, or there are none at all.
    """

    async def read() -> tuple[HeaderStatus | None, str | None]:
        chosen = stored()
        async with open_database(chosen) as database:
            store = header_store(database, chosen)
            found = await store.status()
            return found, store.rules_of(found.chain).fee_rule if found else None

    found, fee_rule = run(read())
    if found is None:
        click.echo('no headers; "prover headers import" or "prover headers simulate" makes some')
        raise click.exceptions.Exit(1)
    table = Table(show_header=False)
    kind = "simulated" if found.chain.simulated else "real"
    table.add_row("chain", f"{found.chain.chain_id} ({kind})")
    table.add_row("source", found.chain.source)
    table.add_row("base fee", fee_rule or "not checked: no rule is known (PROVER_CHAIN_RULES)")
    table.add_row("headers", f"{found.count:,}")
    table.add_row("verified", f"{found.verified:,}")
    table.add_row("blocks", f"{found.first_block} to {found.last_block}")
    table.add_row("time", f"{_utc(found.first_timestamp)} to {_utc(found.last_timestamp)}")
    table.add_row("timestamps", f"{found.first_timestamp}..{found.last_timestamp}")
    table.add_row("hours", f"{found.hours:,}")
    table.add_row("missing", _missing(found))
    for gap in found.gaps:
        table.add_row("", _gap(gap))
    if len(found.gaps) == SHOWN_GAPS:
        table.add_row("", f"these are the first {SHOWN_GAPS} gaps; there may be more")
    console().print(table)
    if found.gaps:
        raise click.exceptions.Exit(1)


def _summary(report: ImportReport) -> str:
    return f"{report.read} headers read, {report.new} of them new, {report.verified} verified"


def _unverified(
    report: ImportReport, notes: FileNotes, chosen: Settings, facts: ChainFacts
) -> Iterator[str]:
    """Say why headers of a file are not verified, and what was not checked of the others."""
    for reason, count in report.unverified:
        what = f"{count} headers are not verified: {reason}"
        if reason is Unverified.FIELDS and notes.lacking:
            what += f" ({notes.lacking})"
        yield what
    rules = read_rule_book(chosen.chain_rules).rules_of(facts.chain_id, simulated=facts.simulated)
    yield from _no_fee_rule(rules)


def _no_fee_rule(rules: ChainRules) -> Iterator[str]:
    """Say that base fees are not checked, where that is so."""
    if rules.fee_rule is None:
        yield f"base fees are not checked: no rule is known for {rules.name} (PROVER_CHAIN_RULES)"


def _missing(found: HeaderStatus) -> str:
    if not found.gaps:
        return "nothing"
    return f"{found.missing_blocks:,} blocks, {found.missing_hours:,} whole hours"


def _gap(gap: Gap) -> str:
    when = f"between {_utc(gap.from_timestamp)} and {_utc(gap.to_timestamp)}"
    if not gap.missing_blocks:
        return f"no block {when}, from {gap.after_block} to {gap.before_block}"
    return f"blocks {gap.after_block + 1} to {gap.before_block - 1}, {when}"


@contextmanager
def _rarely_collecting() -> Iterator[None]:
    """Look for objects in circles rarely: none is in one of hundreds of thousands of headers.

    To look at those that are there, again and again, would take a fifth of an import.
    """
    usual = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _store(
    new: Iterable[Batch],
    facts: ChainFacts,
    on_progress: Callable[[int], None] | None = None,
) -> ImportReport:
    chosen = settings()

    async def store() -> ImportReport:
        async with open_database(chosen) as database:
            return await header_store(database, chosen).import_batches(new, facts, on_progress)

    with telling_of_new(chosen), _rarely_collecting():
        return run(store())


def _progress() -> Progress:
    console = progress_console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        # Without a terminal it would still end with an empty line.
        disable=not console.is_terminal,
    )


def _utc(timestamp: int) -> str:
    if timestamp > LAST_DATED_SECOND:
        return f"second {timestamp}"
    return f"{datetime.fromtimestamp(timestamp, tz=UTC):%Y-%m-%d %H:%M} UTC"


COMMANDS = (headers,)
