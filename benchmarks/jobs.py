"""Jobs through the whole service: the three real ones, and one that computes nothing.

A job's cost is CPU time: that of the service's process, of its sandbox processes, and of the
database's server. It is steadier than the rate, and what a larger machine would have more of.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from attrs import frozen
from bench_plugins import NOOP_PLUGIN, install_plugin
from load import THE_THREE_ALONE, Body, header_file, one_of, posts, round_of
from processes import CpuTime, api, cpu_time, process
from report import Better, Figure, Table, compared
from stand import NONE, Engine, Place, Reader, Stand

# Rounds of three real proofs; the baseline takes a second for ten.
ROUNDS = 90
NOOP_JOBS = 2000
CONNECTIONS = 32

# Single rounds and jobs at rest, one after the other.
ROUNDS_AT_REST = 15
JOBS_AT_REST = 10
WARM_AT_REST = 8

# The first part of the jobs warms processes up and is not counted.
WARM_PART = 0.2

# So long after all was asked for, looking costs little and misses little.
LOOK_SECONDS = 0.1
CLOSE_LOOK_SECONDS = 0.002

# So long the service gets to come to rest, with all its processes started.
REST_SECONDS = 2.0
PATIENCE_SECONDS = 180.0

ENDED = "SELECT COUNT(*) FROM job WHERE finished_at IS NOT NULL"
FAILED = "SELECT COUNT(*) FROM job WHERE state <> 'succeeded' AND finished_at IS NOT NULL"


@frozen
class Work:
    """What a worker did between two moments.

    Args:
        jobs: How many ended.
        seconds: How long that took.
        cpu: What the worker and its sandbox processes used.
        server: Seconds that the database's server used.
    """

    jobs: int
    seconds: float
    cpu: CpuTime
    server: float

    @property
    def rate(self) -> float:
        """Jobs a second."""
        return self.jobs / self.seconds

    @property
    def service_ms(self) -> float:
        """Milliseconds of the service's own process for a job."""
        return self.cpu.own / self.jobs * 1000

    @property
    def sandbox_ms(self) -> float:
        """Milliseconds of the sandbox processes for a job."""
        return self.cpu.children / self.jobs * 1000

    @property
    def server_ms(self) -> float:
        """Milliseconds of the database's server for a job."""
        return self.server / self.jobs * 1000


@frozen
class Rest:
    """Groups one after the other.

    Args:
        seconds: From the request to the last result, of each.
        cpu: What the service used for all of them.
        server: Seconds that the database's server used for all of them.
    """

    seconds: Sequence[float]
    cpu: CpuTime
    server: float


Seen = tuple[int, float, CpuTime, float]


def real(stand: Stand) -> Iterator[Table]:
    """Measure the three real proofs: many at once, then single rounds at rest."""
    engines = (Engine.SQLITE, Engine.SQS)

    def place(number: int, engine: Engine) -> Place:
        return real_place(stand, number, engine)

    bodies = [round_of(f"round-{number}", number) for number in range(ROUNDS)]
    yield compared(
        "The three real proofs over 90 days (TWAP 30), in groups of three",
        _many(stand, engines, place, bodies, "real job"),
        f"{ROUNDS} groups wait when one worker starts; the service is its own process without "
        "the API.",
    )
    yield compared(
        "One group of the three at rest, from its submission to its last result",
        _at_rest(stand, engines, place),
        f"Median of {ROUNDS_AT_REST} groups, one after the other; API and worker in one process.",
    )


def noop(stand: Stand) -> Iterator[Table]:
    """Measure jobs that compute nothing: many at once, and the commits that one needs."""
    engines = tuple(Engine)

    def place(number: int, engine: Engine) -> Place:
        return noop_place(stand, number, engine)

    bodies = [one_of("noop", f"noop-{number}") for number in range(NOOP_JOBS)]
    yield compared(
        "Jobs that compute nothing: queue, worker, sandbox process, receipt, store",
        _many(stand, engines, place, bodies, "no-op job"),
        f"{NOOP_JOBS:,} groups of one job wait when one worker starts.",
    )
    yield compared(
        "Commits for one job at rest, from its submission to the receipt of its group",
        _commits(stand, (Engine.SQLITE, Engine.POSTGRES), place),
        f"Median of {JOBS_AT_REST} jobs; API and worker in one process.",
    )


def real_place(stand: Stand, number: int, engine: Engine) -> Place:
    """Return a place with the three proof types, and hours for many rounds."""
    made = stand.place(stand.checkouts[number], engine)
    made.run(["headers", "import", stand.hours])
    return made.given(THE_THREE_ALONE)


def noop_place(stand: Stand, number: int, engine: Engine) -> Place:
    """Return a place where the only proof type computes nothing, and an hour to do that over."""
    made = stand.place(stand.checkouts[number], engine)
    made.run(["headers", "import", header_file(stand.folder("hour"), 1)])
    return made.given(install_plugin(stand.folder("site"), "noop", NOOP_PLUGIN))


Placing = Callable[[int, Engine], Place]


def _many(
    stand: Stand, engines: Sequence[Engine], placing: Placing, bodies: Sequence[Body], job: str
) -> Iterator[Figure]:
    for engine in engines:
        works = [worked(placing(number, engine), bodies) for number in range(len(stand.checkouts))]
        kinds: list[tuple[str, str, Callable[[Work], float], Better]] = [
            (f"{job}s", "jobs/s", lambda work: work.rate, Better.MORE),
            (f"{job}: service", "CPU ms", lambda work: work.service_ms, Better.LESS),
            (f"{job}: sandbox processes", "CPU ms", lambda work: work.sandbox_ms, Better.LESS),
        ]
        if engine is not Engine.SQLITE:
            server = (f"{job}: PostgreSQL", "CPU ms", lambda work: work.server_ms, Better.LESS)
            kinds.append(server)
        for name, unit, of, better in kinds:
            yield figure(name, unit, engine, [of(work) for work in works], better)


def figure(work: str, unit: str, engine: Engine, values: Sequence[float], better: Better) -> Figure:
    """Return what was measured of each checkout, this one's last."""
    before = values[0] if len(values) > 1 else None
    return Figure(work, unit, engine.value, before, values[-1], better)


def worked(place: Place, bodies: Sequence[Body]) -> Work:
    """Store groups, then let one worker do their jobs."""
    with api(place.checkout, place.environment) as (_, port):
        posts(port, bodies, CONNECTIONS)
    with (
        place.reader() as reader,
        process(place.checkout, ["worker"], place.environment) as worker,
    ):
        count = reader.number("SELECT COUNT(*) FROM job")

        def look() -> Seen:
            ended, server = reader.number(ENDED), place.server_time()
            return ended, time.perf_counter(), cpu_time(worker), server

        first = _until(look, round(count * WARM_PART))
        last = _until(look, count)
        _require_success(reader)
    return Work(last[0] - first[0], last[1] - first[1], last[2].since(first[2]), last[3] - first[3])


def _until(look: Callable[[], Seen], count: int) -> Seen:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (seen := look())[0] < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{seen[0]} of {count} jobs have ended")
        time.sleep(LOOK_SECONDS)
    return seen


def _require_success(reader: Reader) -> None:
    if failed := reader.number(FAILED):
        raise RuntimeError(f"{failed} jobs failed")


def _at_rest(stand: Stand, engines: Sequence[Engine], placing: Placing) -> Iterator[Figure]:
    for engine in engines:
        values = []
        for number in range(len(stand.checkouts)):
            place = placing(number, engine)
            bodies = [
                round_of(f"rest-{index}", index) for index in range(WARM_AT_REST + ROUNDS_AT_REST)
            ]
            values.append(median(rested(place, bodies).seconds) * 1000)
        yield figure("submission to last result", "ms", engine, values, Better.LESS)


def rested(place: Place, bodies: Sequence[Body]) -> Rest:
    """Post one group after the other; the first warm processes up and are not counted.

    Of several sandbox processes each has to have computed each proof once.
    """
    seconds = []
    with api(place.checkout, place.environment, "up") as (service, port), place.reader() as reader:
        time.sleep(REST_SECONDS)
        before, server = NONE, 0.0
        for body in bodies:
            began = time.perf_counter()
            posts(port, [body], 1)
            wait_for_all(reader)
            seconds.append(time.perf_counter() - began)
            if len(seconds) == WARM_AT_REST:
                before, server = cpu_time(service), place.server_time()
        used, of_server = cpu_time(service).since(before), place.server_time() - server
        _require_success(reader)
    return Rest(seconds[WARM_AT_REST:], used, of_server)


def wait_for_all(reader: Reader) -> None:
    """Wait until all jobs have ended, and look often.

    Raises:
        TimeoutError: They have not within minutes.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while reader.number("SELECT COUNT(*) FROM job WHERE finished_at IS NULL"):
        if time.monotonic() > deadline:
            raise TimeoutError("a group has not ended")
        time.sleep(CLOSE_LOOK_SECONDS)


def _commits(stand: Stand, engines: Sequence[Engine], placing: Placing) -> Iterator[Figure]:
    for engine in engines:
        values = []
        for number in range(len(stand.checkouts)):
            place = placing(number, engine)
            with (
                api(place.checkout, place.environment, "up") as (_, port),
                place.reader() as reader,
            ):
                values.append(median(_commits_of_jobs(port, reader)))
        yield figure("commits for a no-op job", "commits", engine, values, Better.LESS)


def _commits_of_jobs(port: int, reader: Reader) -> Iterator[int]:
    time.sleep(REST_SECONDS)
    for number in range(JOBS_AT_REST):
        before = reader.commits()
        posts(port, [one_of("noop", f"commits-{number}")], 1)
        wait_for_all(reader)
        # The receipt of the group follows the last result.
        time.sleep(LOOK_SECONDS)
        yield reader.commits() - before
