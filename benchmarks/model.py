"""The model of the service's capacity: calibrated, run, and measured against.

Costs are measured where one slot computes and few clients ask; the model then says what two slots,
many clients and a service at rest do, and the same is measured. With the costs that it confirms it
says what a hundred million jobs a day would need.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from statistics import median

from answers import accepted
from attrs import evolve, frozen
from capacity_model import Costs, Deployment, Load, Model, Outcome, PartName
from jobs import ROUNDS, Work, noop_place, real_place, rested, worked
from load import one_of, round_of
from report import Table, shown
from stand import Engine, Place, Stand

NOOP_JOBS = 1200
POSTS = 1500
ROUNDS_AT_REST = 12

FEW_CLIENTS = 4
MANY_CLIENTS = 64
SLOTS = 2
JOBS_A_ROUND = 3

COMMITS = 60
COMMITTED = b"x" * 2000

# Of the model's time: enough for thousands of jobs.
MODEL_SECONDS = 20.0
BACKLOG_RATE = 5000.0

JOBS_A_DAY = 100_000_000
DAY_SECONDS = 86_400
# Days have busy hours, and what is busier than this waits long.
PEAK = 2.0
BUSY = 0.6
DATABASE_CORES = 16
PEAK_SECONDS = 5.0


@frozen
class Confirmed:
    """A figure of the model beside the measured one."""

    name: str
    unit: str
    stored: str
    modelled: float
    measured: float


@frozen
class Stored:
    """What a job leaves in a database.

    Args:
        bytes: Of the tables and indexes.
        log_bytes: Written to the log.
    """

    bytes: float
    log_bytes: float


def modelled(stand: Stand) -> Iterator[Table]:
    """Calibrate, run the model, measure the same, and ask the model for more."""
    figures: list[Confirmed] = []
    costs: dict[str, Costs] = {}
    for engine in (Engine.SQLITE, Engine.POSTGRES):
        accept = _accepting(stand, engine, figures)
        costs[f"no-op, {engine.name}"] = _computing(stand, engine, "no-op", accept, figures)
        costs[f"real, {engine.name}"] = _computing(stand, engine, "real", accept, figures)
    _at_rest(stand, costs["real, SQLITE"], figures)
    yield _confirmed(figures)
    yield _costs(costs)
    stored = _stored(stand)
    yield _a_day(
        {"no-op": costs["no-op, POSTGRES"], "real": costs["real, POSTGRES"]},
        stored,
    )


def _accepting(stand: Stand, engine: Engine, figures: list[Confirmed]) -> Costs:
    """Calibrate with few clients, and confirm with many."""

    def cost(clients: int) -> tuple[float, float, float]:
        place = real_place(stand, -1, engine)
        bodies = [round_of(f"post-{number}", number % 200) for number in range(POSTS)]
        found = accepted(place, bodies, clients)
        return found.cpu_ms / 1000, found.server_ms / 1000, found.served.rate

    service, server, _ = cost(FEW_CLIENTS)
    commit = _commit_seconds(stand.place(stand.checkouts[-1], engine))
    costs = Costs(accept=service, accept_server=server, work=0, compute=0, commit=commit)
    load = Load(clients=MANY_CLIENTS, computing=False)
    said = Model(costs, Deployment(), load).run(MODEL_SECONDS).group_rate
    name = f"POST of three jobs, {MANY_CLIENTS} clients"
    _, _, rate = cost(MANY_CLIENTS)
    figures.append(Confirmed(name, "groups/s", engine.value, said, rate))
    return costs


def _computing(
    stand: Stand, engine: Engine, kind: str, accept: Costs, figures: list[Confirmed]
) -> Costs:
    """Calibrate with one slot, and confirm with more."""

    def work(slots: int) -> Work:
        if kind == "real":
            place = real_place(stand, -1, engine)
            bodies = [round_of(f"round-{number}", number) for number in range(ROUNDS)]
        else:
            place = noop_place(stand, -1, engine)
            bodies = [one_of("noop", f"noop-{number}") for number in range(NOOP_JOBS)]
        return worked(place.given({"PROVER_WORKER_SLOTS": str(slots)}), bodies)

    one = work(1)
    costs = evolve(
        accept,
        work=one.service_ms / 1000,
        compute=one.sandbox_ms / 1000,
        server=one.server_ms / 1000,
    )
    # The groups are there already: accepting them costs nothing now.
    waiting = evolve(costs, accept=0, accept_server=0)
    said = _saturated(waiting, Deployment(slots=SLOTS)).job_rate
    measured = work(SLOTS).rate
    figures.append(Confirmed(f"{kind} jobs, {SLOTS} slots", "jobs/s", engine.value, said, measured))
    return costs


def _saturated(costs: Costs, deployment: Deployment) -> Outcome:
    """Let more groups come than can be worked on, without accepting them one by one."""
    return Model(costs, deployment, Load(clients=MANY_CLIENTS, to_the_end=True)).run(MODEL_SECONDS)


def _at_rest(stand: Stand, costs: Costs, figures: list[Confirmed]) -> None:
    """Let one group after the other go through; what batches save is not saved there."""
    place = real_place(stand, -1, Engine.SQLITE)
    bodies = [round_of(f"rest-{number}", number) for number in range(ROUNDS_AT_REST + 1)]
    found = rested(place, bodies)
    own = found.cpu.own / ROUNDS_AT_REST
    alone = evolve(
        costs,
        work=max(0.0, own - costs.accept) / JOBS_A_ROUND,
        compute=found.cpu.children / ROUNDS_AT_REST / JOBS_A_ROUND,
    )
    load = Load(jobs=JOBS_A_ROUND, clients=1, to_the_end=True)
    rate = Model(alone, Deployment(slots=SLOTS), load).run(MODEL_SECONDS).group_rate
    figures.append(
        Confirmed(
            "one group of the three at rest",
            "ms",
            Engine.SQLITE.value,
            1000 / rate,
            median(found.seconds) * 1000,
        )
    )


def _commit_seconds(place: Place) -> float:
    """Return what one small durable transaction takes that is alone."""
    seconds = []
    with place.reader(writes=True) as writer:
        writer.rows("CREATE TABLE probe (data TEXT)")
        for _ in range(COMMITS):
            began = time.perf_counter()
            writer.rows(f"INSERT INTO probe VALUES ('{COMMITTED.decode()}')")
            seconds.append(time.perf_counter() - began)
    return median(seconds)


def _stored(stand: Stand) -> Stored:
    """Return what a real job leaves on PostgreSQL."""
    size = "SELECT pg_database_size(current_database())"
    log = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
    place = real_place(stand, -1, Engine.POSTGRES)
    with place.reader() as reader:
        before, written = reader.number(size), reader.number(log)
        worked(place, [round_of(f"round-{number}", number) for number in range(ROUNDS)])
        jobs = ROUNDS * JOBS_A_ROUND
        return Stored((reader.number(size) - before) / jobs, (reader.number(log) - written) / jobs)


def _confirmed(figures: Sequence[Confirmed]) -> Table:
    return Table(
        "The model of one machine beside what was measured",
        ("", "unit", "stored", "modelled", "measured", "modelled / measured"),
        [
            (
                one.name,
                one.unit,
                one.stored,
                shown(one.modelled),
                shown(one.measured),
                f"{one.modelled / one.measured:.2f}",
            )
            for one in figures
        ],
        [f"Costs come from one slot and {FEW_CLIENTS} clients; at rest from a group at rest."],
    )


def _costs(costs: Mapping[str, Costs]) -> Table:
    return Table(
        "What a job costs each part, in ms",
        ("", "API, a group", "worker", "sandbox", "PostgreSQL", "its part of a POST", "commit"),
        [
            (
                name,
                *(
                    shown(seconds * 1000)
                    for seconds in (
                        cost.accept,
                        cost.work,
                        cost.compute,
                        cost.server,
                        cost.accept_server,
                        cost.commit,
                    )
                ),
            )
            for name, cost in costs.items()
        ],
    )


def _a_day(costs: Mapping[str, Costs], stored: Stored) -> Table:
    rate = JOBS_A_DAY / DAY_SECONDS * PEAK
    rows = []
    for kind, cost in costs.items():
        deployment = deployed(cost, rate)
        load = Load(jobs=JOBS_A_ROUND, rate=rate / JOBS_A_ROUND)
        outcome = Model(cost, deployment, load).run(PEAK_SECONDS)
        rows.append(
            (
                kind,
                str(deployment.apis),
                f"{deployment.workers} of {deployment.cores} cores",
                f"{deployment.shards} of {deployment.server_cores} cores",
                f"{outcome.use[PartName.WORKER]:.0%}",
                f"{outcome.use[PartName.CORES]:.0%}",
                f"{outcome.use[PartName.SERVER_CORES]:.0%}",
                f"{outcome.use[PartName.LOG]:.0%}",
                f"{outcome.slow_job_seconds * 1000:,.0f} ms",
            )
        )
    bytes_a_day = stored.bytes * JOBS_A_DAY / 1e9
    log_a_day = stored.log_bytes * JOBS_A_DAY / 1e9
    left = (
        f"A real job leaves {stored.bytes:,.0f} bytes in the database and writes "
        f"{stored.log_bytes:,.0f} to its log: {bytes_a_day:,.0f} and {log_a_day:,.0f} GB a day."
    )
    return Table(
        f"{JOBS_A_DAY / 1e6:,.0f} million jobs a day, {PEAK:g} times that at the peak: the model",
        (
            "jobs",
            "API processes",
            "workers",
            "databases",
            "use: worker processes",
            "cores of workers",
            "cores of databases",
            "logs",
            "99 % of jobs within",
        ),
        rows,
        [
            f"{rate:,.0f} jobs/s in groups of three; parts are busy {BUSY:.0%} of the peak.",
            left,
        ],
    )


def deployed(costs: Costs, rate: float) -> Deployment:
    """Return how much of each part so many jobs a second need, in groups of three."""
    groups = rate / JOBS_A_ROUND
    workers = ceil(rate * costs.work / BUSY)
    slots = ceil(rate * costs.compute / BUSY / workers)
    server = rate * costs.server + groups * costs.accept_server
    return Deployment(
        apis=ceil(groups * costs.accept / BUSY),
        workers=workers,
        slots=slots,
        in_flight=slots + Deployment().in_flight,
        cores=slots + 1,
        server_cores=DATABASE_CORES,
        shards=ceil(server / BUSY / DATABASE_CORES),
    )
