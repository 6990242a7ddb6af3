"""The model of the service's capacity obeys the laws that hold for every network of queues."""

import pytest
from capacity_model import Costs, Deployment, Load, Model, PartName

COSTS = Costs(
    accept=0.002, accept_server=0.001, work=0.003, compute=0.005, server=0.002, commit=0.001
)

# Machines with so many cores that none waits for one.
ROOMY = Deployment(cores=8, server_cores=16, slots=4)


def test_jobs_inside_are_their_rate_times_their_time_inside() -> None:
    outcome = Model(COSTS, ROOMY, Load(jobs=3, rate=70)).run(15)

    assert outcome.mean_inside == pytest.approx(
        outcome.job_rate * outcome.mean_job_seconds, rel=0.05
    )


def test_each_part_is_busy_for_what_its_work_takes() -> None:
    outcome = Model(COSTS, ROOMY, Load(jobs=3, rate=70)).run(15)

    jobs, groups = outcome.job_rate, outcome.group_rate
    assert groups == pytest.approx(70, rel=0.1)
    assert jobs == pytest.approx(3 * groups, rel=0.01)
    use = outcome.use
    assert use[PartName.API] == pytest.approx(groups * COSTS.accept, rel=0.01)
    assert use[PartName.WORKER] == pytest.approx(jobs * COSTS.work, rel=0.01)
    assert use[PartName.SANDBOX] == pytest.approx(jobs * COSTS.compute / 4, rel=0.01)
    work = jobs * (COSTS.work + COSTS.compute)
    assert use[PartName.CORES] == pytest.approx(work / 8, rel=0.01)
    server = jobs * COSTS.server + groups * COSTS.accept_server
    assert use[PartName.SERVER_CORES] == pytest.approx(server / 16, rel=0.01)


@pytest.mark.parametrize(
    ("deployment", "jobs_a_second"),
    [
        pytest.param(ROOMY, 1 / COSTS.work, id="a worker's process"),
        pytest.param(Deployment(cores=8, slots=1), 1 / COSTS.compute, id="a sandbox process"),
        pytest.param(
            Deployment(cores=1, server_cores=16),
            1 / (COSTS.work + COSTS.compute),
            id="the core of the worker's machine",
        ),
        pytest.param(
            Deployment(cores=2, slots=4),
            2 / (COSTS.accept + COSTS.accept_server + COSTS.work + COSTS.compute + COSTS.server),
            id="the cores of the only machine",
        ),
        pytest.param(
            Deployment(workers=3, cores=8, server_cores=1, apis=2),
            1 / (COSTS.server + COSTS.accept_server),
            id="the database's core",
        ),
    ],
)
def test_what_is_busiest_sets_the_rate(deployment: Deployment, jobs_a_second: float) -> None:
    outcome = Model(COSTS, deployment, Load(clients=64, to_the_end=True)).run(6)

    assert outcome.job_rate == pytest.approx(jobs_a_second, rel=0.03)


def test_one_server_makes_requests_wait_as_theory_says() -> None:
    """Pollaczek and Khinchine: random arrivals, work that always takes the same."""
    costs = Costs(accept=0.008, work=0, compute=0, commit=0)
    outcome = Model(costs, ROOMY, Load(rate=100, computing=False)).run(120)

    busy = 100 * 0.008
    waited = busy * 0.008 / (2 * (1 - busy))
    mean = sum(outcome.answer_seconds) / len(outcome.answer_seconds)
    assert mean == pytest.approx(0.008 + waited, rel=0.1)


def test_a_commit_alone_takes_one_write() -> None:
    costs = Costs(accept=0, work=0, compute=0, commit=0.002)
    outcome = Model(costs, ROOMY, Load(clients=1, computing=False)).run(2)

    assert outcome.group_rate == pytest.approx(1 / 0.002, rel=0.01)
    assert outcome.use[PartName.LOG] == pytest.approx(1, rel=0.01)


def test_commits_that_come_during_a_write_share_the_next_one() -> None:
    costs = Costs(accept=0, work=0, compute=0, commit=0.002)
    outcome = Model(costs, ROOMY, Load(clients=16, computing=False)).run(2)

    # Nobody waits for more than the rest of one write and a whole one.
    assert max(outcome.answer_seconds) <= 2 * 0.002 + 1e-9
    assert outcome.group_rate >= 16 / (2 * 0.002)


def test_shards_share_the_load() -> None:
    one = Deployment(workers=4, cores=8, server_cores=1, apis=2)
    two = Deployment(workers=4, cores=8, server_cores=1, apis=2, shards=2)
    load = Load(clients=64, to_the_end=True)

    once, twice = (Model(COSTS, each, load).run(4).job_rate for each in (one, two))

    assert twice == pytest.approx(2 * once, rel=0.05)


def test_a_seed_names_a_run() -> None:
    load = Load(rate=100)

    first, again = (Model(COSTS, ROOMY, load, seed=1).run(1) for _ in range(2))
    other = Model(COSTS, ROOMY, load, seed=2).run(1)

    assert first == again
    assert first != other
