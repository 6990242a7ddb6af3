"""A model of the service as a network of queues, run event by event.

A group is accepted by an API process, in a transaction; then each of its jobs is taken by a worker,
in another one, gets a slot, in which its data is read, a sandbox process computes and the receipt
is written, and is stored in a third. A process does one thing at a time, and needs a core for it;
cores belong to machines, and on one machine all share them. A process has one transaction of a kind
at a time: what arrives meanwhile goes into the next. So does the log of the database with commits.
What a step costs is measured (``benchmarks/model.py``); how steps wait for each other is what the
model adds. Time is in seconds.
"""

from collections.abc import Generator, Iterator, Sequence
from enum import Enum
from random import Random
from statistics import fmean, quantiles
from typing import Any

import simpy
from attrs import define, field, frozen

Events = Generator[simpy.Event, Any, Any]

# An operating system lets another process have a core after some milliseconds.
SLICE_SECONDS = 0.004

# Parts of the work on a job, of a worker's process and of the database's server: taking it, reading
# its data, writing its receipt, storing that. They say who waits where, and no rate depends on them
# as long as the process or the cores are what is full.
TAKING, READING, WRITING, STORING = 0.15, 0.35, 0.2, 0.3

# The first part of a run fills the queues and is not counted.
WARM_PART = 0.2


@frozen(kw_only=True)
class Costs:
    """What one job costs each part, in seconds; all but those of waits are CPU time.

    Args:
        accept: Of an API process for a group, with all its jobs.
        accept_server: Of the database's server for a group.
        work: Of a worker's process.
        compute: Of a sandbox process.
        server: Of the database's server, from taking the job to storing its result.
        commit: Writing the log through to the disk, for all that wait for it together.
        transaction: What a transaction takes beside that and beside CPU time: its round trips, for
            all that is in it together. The reads of a job take as long once more.
        ask: Of the one process that all clients are in, for a group; where it is on the machine of
            the API, for which it takes a core.
        delivery: From the answer to a worker's having the job, where a queue lies between.
    """

    accept: float
    work: float
    compute: float
    commit: float
    accept_server: float = 0.0
    server: float = 0.0
    transaction: float = 0.0
    ask: float = 0.0
    delivery: float = 0.0


@frozen(kw_only=True)
class Deployment:
    """What there is of each part.

    Args:
        apis: API processes.
        workers: Worker processes.
        slots: Sandbox processes of each worker.
        in_flight: How many jobs a worker has at most, waiting for a slot or in one.
        cores: Of one worker's machine; of the only machine, where all is on one.
        server_cores: Of the database's machine; None where all is on one machine.
        shards: Databases that share the groups, each with a machine and a log of its own.
        one_writer: Whether all transactions of a database wait for each other, as SQLite's do.
    """

    apis: int = 1
    workers: int = 1
    slots: int = 2
    in_flight: int = 22
    cores: int = 2
    server_cores: int | None = None
    shards: int = 1
    one_writer: bool = False


@frozen(kw_only=True)
class Load:
    """What is asked of the service.

    Args:
        jobs: In one group.
        rate: Groups a second that arrive at random moments, whatever the service does; None for
            clients that wait for each answer.
        clients: That wait; each asks again once it is answered.
        computing: Whether jobs are worked on, or only accepted.
        to_the_end: Whether a client waits for the results, too.
    """

    jobs: int = 1
    rate: float | None = None
    clients: int = 1
    computing: bool = True
    to_the_end: bool = False


class PartName(Enum):
    """The parts whose use is told."""

    API = "API processes"
    WORKER = "worker processes"
    SANDBOX = "sandbox processes"
    CORES = "cores of workers"
    SERVER_CORES = "cores of the database"
    LOG = "its log"


@frozen
class Outcome:
    """What a run of the model showed after its warm part.

    Args:
        seconds: How long that was, in the model's time.
        answered: Groups that were answered.
        ended: Jobs whose results were stored.
        answer_seconds: From the request to the answer, of each group.
        job_seconds: From the request to the stored result, of each job.
        mean_inside: Jobs that were asked for and had not ended, on average over the time.
        use: Which part of its time each part was busy.
    """

    seconds: float
    answered: int
    ended: int
    answer_seconds: Sequence[float]
    job_seconds: Sequence[float]
    mean_inside: float
    use: dict[PartName, float]

    @property
    def group_rate(self) -> float:
        """Groups answered a second."""
        return self.answered / self.seconds

    @property
    def job_rate(self) -> float:
        """Jobs ended a second."""
        return self.ended / self.seconds

    @property
    def mean_job_seconds(self) -> float:
        """From a request to a stored result, on average."""
        return fmean(self.job_seconds) if self.job_seconds else 0.0

    @property
    def slow_job_seconds(self) -> float:
        """What 99 % of the jobs stay below."""
        if len(self.job_seconds) < 2:
            return self.mean_job_seconds
        return quantiles(self.job_seconds, n=100)[-1]


@define
class Part:
    """Servers that each do one thing at a time.

    Args:
        env: The clock.
        count: How many there are.
        busy: Seconds of work that they have done.
    """

    env: simpy.Environment
    count: int
    busy: float = 0.0
    places: simpy.Resource = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.places = simpy.Resource(self.env, self.count)

    def work(self, seconds: float, cores: "Part | None" = None) -> Events:
        """Have one of them do so much work, on cores where it needs some."""
        with self.places.request() as place:
            yield place
            yield from self.go_on(seconds, cores)

    def go_on(self, seconds: float, cores: "Part | None" = None) -> Events:
        """Do so much work in a place that one has, slice by slice."""
        if cores is None:
            yield self.env.timeout(seconds)
        else:
            for part in _slices(seconds):
                yield from cores.work(part)
        self.busy += seconds


def _slices(seconds: float) -> Iterator[float]:
    while seconds > 0:
        yield min(seconds, SLICE_SECONDS)
        seconds -= SLICE_SECONDS


@define
class Together:
    """Something that is done once at a time, for all that wait for it.

    Args:
        env: The clock.
        seconds: How long it takes.
        then: What follows each time, before those that wait go on: the log after a transaction.
        busy: Seconds that it has taken.
    """

    env: simpy.Environment
    seconds: float
    then: "Together | None" = None
    busy: float = 0.0
    _next: simpy.Event = field(init=False)
    _waiting: int = 0
    _is_running: bool = False

    def __attrs_post_init__(self) -> None:
        self._next = self.env.event()

    def join(self) -> Events:
        """Wait until it has been done once, from its beginning on."""
        self._waiting += 1
        done = self._next
        if not self._is_running:
            self._is_running = True
            self.env.process(self._run())
        yield done

    def _run(self) -> Events:
        while self._waiting:
            done, self._next, self._waiting = self._next, self.env.event(), 0
            yield self.env.timeout(self.seconds)
            self.busy += self.seconds
            if self.then:
                yield from self.then.join()
            done.succeed()
        self._is_running = False


@define
class _Shard:
    cores: Part
    server: Part
    log: Together
    writer: Together


@define
class _Worker:
    """A worker of one shard, with its own transactions of either kind."""

    process: Part
    sandboxes: Part
    cores: Part
    shard: _Shard
    taking: Together
    storing: Together


class Model:
    """The service under a load.

    Args:
        costs: Of each step.
        deployment: What there is of each part.
        load: What is asked of it.
        seed: Of the moments at which groups arrive.
    """

    def __init__(
        self, costs: Costs, deployment: Deployment, load: Load, *, seed: int = 1559
    ) -> None:
        self.env = env = simpy.Environment()
        self._costs, self._load, self._deployment = costs, load, deployment
        self._random = Random(seed)
        one_machine = deployment.server_cores is None
        first = Part(env, deployment.cores)
        self._apis = Part(env, deployment.apis)
        self._asking = Part(env, 1)
        self._api_cores = first if one_machine else Part(env, deployment.apis)
        self._shards = [
            self._shard(first if one_machine else Part(env, deployment.server_cores or 1))
            for _ in range(deployment.shards)
        ]
        self._workers = [
            self._worker(
                first if one_machine else Part(env, deployment.cores),
                self._shards[number % deployment.shards],
            )
            for number in range(deployment.workers)
        ]
        # Places in the workers of each shard; whoever has one is that worker's.
        self._rooms = {id(shard): simpy.Store(env) for shard in self._shards}
        for _ in range(deployment.in_flight):
            for worker in self._workers:
                self._rooms[id(worker.shard)].put(worker)
        self._groups = 0
        self._inside = 0
        self._changed_at = 0.0
        self._area = 0.0
        self._answers: list[tuple[float, float]] = []
        self._ends: list[tuple[float, float]] = []

    def _shard(self, cores: Part) -> _Shard:
        log = Together(self.env, self._costs.commit)
        writer = Together(self.env, self._costs.transaction, log)
        return _Shard(cores, Part(self.env, cores.count * 8), log, writer)

    def _worker(self, cores: Part, shard: _Shard) -> _Worker:
        taking, storing = (
            shard.writer
            if self._deployment.one_writer
            else Together(self.env, self._costs.transaction, shard.log)
            for _ in range(2)
        )
        slots = Part(self.env, self._deployment.slots)
        return _Worker(Part(self.env, 1), slots, cores, shard, taking, storing)

    def run(self, seconds: float) -> Outcome:
        """Let so much time pass and return what is seen after the warm part of it."""
        if self._load.rate is None:
            for _ in range(self._load.clients):
                self.env.process(self._client())
        else:
            self.env.process(self._arrivals(self._load.rate))
        warm = seconds * WARM_PART
        self.env.run(warm)
        self._count(0)
        area, busy = self._area, self._busy()
        self.env.run(seconds)
        self._count(0)
        passed = seconds - warm
        answers = [end - begin for begin, end in self._answers if end >= warm]
        ends = [end - begin for begin, end in self._ends if end >= warm]
        use = {
            name: (after - busy[name][0]) / passed / count
            for name, (after, count) in self._busy().items()
        }
        return Outcome(
            passed,
            len(answers),
            len(ends),
            answers,
            ends,
            (self._area - area) / passed,
            use,
        )

    def _busy(self) -> dict[PartName, tuple[float, int]]:
        """Return of each part the seconds that it was busy, and how many there are of it."""

        def total(parts: Sequence[Part]) -> tuple[float, int]:
            return sum(part.busy for part in parts), sum(part.count for part in parts)

        logs = [shard.log for shard in self._shards]
        return {
            PartName.API: total([self._apis]),
            PartName.WORKER: total([worker.process for worker in self._workers]),
            PartName.SANDBOX: total([worker.sandboxes for worker in self._workers]),
            PartName.CORES: total(list({id(w.cores): w.cores for w in self._workers}.values())),
            PartName.SERVER_CORES: total([shard.cores for shard in self._shards]),
            PartName.LOG: (sum(log.busy for log in logs), len(logs)),
        }

    def _arrivals(self, rate: float) -> Events:
        while True:
            yield self.env.timeout(self._random.expovariate(rate))
            self.env.process(self._group())

    def _client(self) -> Events:
        while True:
            yield from self._asking.work(self._costs.ask, self._api_cores)
            jobs = yield self.env.process(self._group())
            if self._load.to_the_end:
                yield self.env.all_of(jobs)

    def _group(self) -> Events:
        begin, costs = self.env.now, self._costs
        shard = self._shards[self._groups % len(self._shards)]
        self._groups += 1
        if self._load.computing:
            self._count(self._load.jobs)
        yield from self._apis.work(costs.accept, self._api_cores)
        yield from shard.server.work(costs.accept_server, shard.cores)
        yield from shard.writer.join()
        self._answers.append((begin, self.env.now))
        if not self._load.computing:
            return []
        return [self.env.process(self._job(begin, shard)) for _ in range(self._load.jobs)]

    def _job(self, begin: float, shard: _Shard) -> Events:
        costs = self._costs
        yield self.env.timeout(costs.delivery)
        rooms = self._rooms[id(shard)]
        worker: _Worker = yield rooms.get()
        yield from self._work(worker, TAKING)
        yield from worker.taking.join()
        with worker.sandboxes.places.request() as slot:
            yield slot
            yield from self._work(worker, READING)
            yield self.env.timeout(costs.transaction)
            yield from worker.sandboxes.go_on(costs.compute, worker.cores)
            yield from self._work(worker, WRITING)
        yield from self._work(worker, STORING)
        yield from worker.storing.join()
        yield rooms.put(worker)
        self._count(-1)
        self._ends.append((begin, self.env.now))

    def _work(self, worker: _Worker, part: float) -> Events:
        """Do a part of the work on a job, in the worker's process and in the server."""
        yield from worker.process.work(self._costs.work * part, worker.cores)
        yield from worker.shard.server.work(self._costs.server * part, worker.shard.cores)

    def _count(self, more: int) -> None:
        """Note that so many more jobs are inside from now on."""
        self._area += self._inside * (self.env.now - self._changed_at)
        self._changed_at = self.env.now
        self._inside += more
