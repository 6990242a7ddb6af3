"""The model of the service's capacity: calibrated, run, and measured against.

Costs are CPU times where one slot computes and few clients ask, and what a transaction takes beside
them, from no-op jobs one after the other. The model then says what two slots, many clients and real
proofs do, and the same is measured. It also says what a hundred million jobs a day would need.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from statistics import fmean, median

from answers import WARM_POSTS, Cost, accepted
from attrs import evolve, frozen
from capacity_model import Costs, Deployment, Load, Model, PartName
from jobs import ROUNDS, WARM_AT_REST, Work, noop_place, real_place, rested, worked
from load import one_of, round_of
from report import Table, shown
from stand import Engine, Place, Stand

NOOP_JOBS = 2000
POSTS = 1500
AT_REST = 40

# Rounds of so many different hours.
DIFFERENT = 200

KINDS = ("no-op", "real")

FEW_CLIENTS = 32
MANY_CLIENTS = 64
SLOTS = 2
JOBS_A_ROUND = 3

COMMITS = 60
COMMITTED = b"x" * 2000

# Of the model's time: enough for thousands of jobs.
MODEL_SECONDS = 20.0

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
        bench = _Bench(stand, engine)
        accept = bench.accepting()
        figures.append(bench.confirmed_accepting(accept))
        for kind in KINDS:
            cost = bench.computing(kind, accept)
            figures.append(bench.confirmed_computing(kind, cost))
            costs[f"{kind}, {engine.name}"] = cost
        figures.append(bench.confirmed_at_rest(accept))
    yield _confirmed(figures)
    yield _costs(costs)
    yield _a_day({kind: costs[f"{kind}, POSTGRES"] for kind in KINDS}, _stored(stand))


@frozen
class _Bench:
    """Measures one engine, and asks the model of one machine with it."""

    stand: Stand
    engine: Engine

    @property
    def machine(self) -> Deployment:
        """What there is of each part on this machine."""
        return Deployment(
            slots=SLOTS, cores=os.cpu_count() or 1, one_writer=self.engine is Engine.SQLITE
        )

    def accepting(self) -> Costs:
        """Measure what a request costs with some clients, and a transaction at rest."""
        cost = self._posts(FEW_CLIENTS)
        costs = Costs(
            accept=cost.cpu_ms / 1000,
            accept_server=cost.server_ms / 1000,
            work=0,
            compute=0,
            ask=cost.client_ms / 1000,
            commit=_commit_seconds(self.stand.place(self.stand.checkouts[-1], self.engine)),
        )
        place = noop_place(self.stand, -1, self.engine)
        alone = rested(place, [one_of("noop", f"rest-{n}") for n in range(WARM_AT_REST + AT_REST)])
        used = (alone.cpu.all + alone.server) / AT_REST
        # Three transactions with a commit each, and the reads.
        waited = median(alone.seconds) - used - 3 * costs.commit
        return evolve(costs, transaction=max(0.0, waited / 4))

    def confirmed_accepting(self, costs: Costs) -> Confirmed:
        """Compare with many clients."""
        load = Load(clients=MANY_CLIENTS, computing=False)
        said = Model(costs, self.machine, load).run(MODEL_SECONDS).group_rate
        measured = self._posts(MANY_CLIENTS).served.rate
        name = f"POST of three jobs, {MANY_CLIENTS} clients"
        return Confirmed(name, "groups/s", self.engine.value, said, measured)

    def computing(self, kind: str, accept: Costs) -> Costs:
        """Measure what a job costs with one slot."""
        one = self._worked(kind, 1)
        return evolve(
            accept,
            work=one.service_ms / 1000,
            compute=one.sandbox_ms / 1000,
            server=one.server_ms / 1000,
        )

    def confirmed_computing(self, kind: str, costs: Costs) -> Confirmed:
        """Compare with more slots. The groups are there already: accepting them costs nothing."""
        waiting = evolve(costs, ask=0, accept=0, accept_server=0)
        load = Load(clients=MANY_CLIENTS, to_the_end=True)
        said = Model(waiting, self.machine, load).run(MODEL_SECONDS).job_rate
        measured = self._worked(kind, SLOTS).rate
        name = f"{kind} jobs, {SLOTS} slots"
        return Confirmed(name, "jobs/s", self.engine.value, said, measured)

    def confirmed_at_rest(self, costs: Costs) -> Confirmed:
        """Compare one real group after the other; what batches save is not saved there."""
        place = real_place(self.stand, -1, self.engine)
        found = rested(place, [round_of(f"rest-{n}", n) for n in range(WARM_AT_REST + AT_REST)])
        jobs = AT_REST * JOBS_A_ROUND
        alone = evolve(
            costs,
            work=max(0.0, found.cpu.own - costs.accept * AT_REST) / jobs,
            compute=found.cpu.children / jobs,
            server=max(0.0, found.server - costs.accept_server * AT_REST) / jobs,
        )
        load = Load(jobs=JOBS_A_ROUND, clients=1, to_the_end=True)
        said = 1000 / Model(alone, self.machine, load).run(MODEL_SECONDS).group_rate
        # Costs are means, too.
        measured = fmean(found.seconds) * 1000
        name = "one group of the three at rest, on average"
        return Confirmed(name, "ms", self.engine.value, said, measured)

    def _posts(self, clients: int) -> Cost:
        place = real_place(self.stand, -1, self.engine)
        bodies = [
            round_of(f"post-{number}", number % DIFFERENT) for number in range(WARM_POSTS + POSTS)
        ]
        return accepted(place, bodies, clients)

    def _worked(self, kind: str, slots: int) -> Work:
        if kind == "real":
            place = real_place(self.stand, -1, self.engine)
            bodies = [round_of(f"round-{number}", number) for number in range(ROUNDS)]
        else:
            place = noop_place(self.stand, -1, self.engine)
            bodies = [one_of("noop", f"noop-{number}") for number in range(NOOP_JOBS)]
        return worked(place.given({"PROVER_WORKER_SLOTS": str(slots)}), bodies)


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
        [
            f"Costs come from one slot, {FEW_CLIENTS} clients, and no-op jobs at rest.",
            "CPU times of a real group at rest come from rest, where batches save nothing.",
        ],
    )


def _costs(costs: Mapping[str, Costs]) -> Table:
    return Table(
        "What a job costs each part, in ms",
        (
            "",
            "API, a group",
            "worker",
            "sandbox",
            "PostgreSQL",
            "its part of a POST",
            "commit",
            "transaction",
        ),
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
                        cost.transaction,
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
        outcome = Model(evolve(cost, ask=0), deployment, load).run(PEAK_SECONDS)
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
