"""How many files a process may open, and how many of them are clients'."""

import resource
import subprocess
import sys

import attrs
import pytest

from prover_framework.settings import Settings
from prover_framework.web.descriptors import MAX_DESCRIPTORS, MIN_CONNECTIONS, connections_within

RAISE = """
import resource
from prover_framework.web.descriptors import raise_descriptor_limit
limit = raise_descriptor_limit()
print(limit, *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard", "then"), [(64, 300, 300), (300, 300, 300)])
def test_the_soft_limit_is_raised_to_the_hard_one(soft: int, hard: int, then: int) -> None:
    _, ours = resource.getrlimit(resource.RLIMIT_NOFILE)
    if ours < hard:
        pytest.skip(f"this machine allows {ours} files")
    done = subprocess.run(
        [sys.executable, "-c", RAISE],
        capture_output=True,
        check=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
    )
    assert done.stdout.split() == [str(then), str(then), str(hard)]


def test_no_more_are_asked_for_than_are_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    from prover_framework.web.descriptors import raise_descriptor_limit

    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert raise_descriptor_limit() == MAX_DESCRIPTORS
    assert asked == [(MAX_DESCRIPTORS, resource.RLIM_INFINITY)]


def test_a_limit_that_is_not_granted_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from prover_framework.web.descriptors import raise_descriptor_limit

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_descriptor_limit() == 256


@pytest.mark.parametrize(
    ("wanted", "slots", "descriptors", "connections"),
    [
        (1000, 2, 20_000, 1000),
        (1000, 2, 1024, 880),
        (1000, 2, 256, 112),
        (50_000, 64, 65_536, 50_000),
        (1000, 256, 1024, MIN_CONNECTIONS),
        (5, 2, 1024, 5),
    ],
)
def test_the_rest_of_the_service_keeps_its_descriptors(
    wanted: int, slots: int, descriptors: int, connections: int
) -> None:
    settings = attrs.evolve(Settings(), max_connections=wanted, worker_slots=slots)
    assert connections_within(settings, descriptors) == connections
