"""What the command line takes to start and to show a list, and what waits in memory."""

from collections.abc import Iterator
from statistics import median

from jobs import figure
from load import THE_THREE_ALONE, posts, round_of
from processes import api, idle_memory, process, ran
from report import Better, Figure, Table, compared
from stand import Engine, Place, Stand

CALLS = 5
LISTED = 20

COMMANDS = (["--version"], ["--help"], ["list"])


def starting(stand: Stand) -> Iterator[Table]:
    """Measure commands that do little."""
    yield compared(
        "Commands",
        _commands(stand),
        f"Median of {CALLS} calls each; the list has {LISTED} groups.",
    )

    yield compared("Memory of processes that wait", _memory(stand))


def _memory(stand: Stand) -> Iterator[Figure]:
    for command in ("api", "worker"):
        found = []
        for number in range(len(stand.checkouts)):
            place = _place(stand, number, listed=0).given({"PROVER_PORT": "0"})
            with process(place.checkout, [command], place.environment) as running:
                found.append(idle_memory(running))
        yield figure(f"prover {command}", "MiB", Engine.SQLITE, found, Better.LESS)


def _commands(stand: Stand) -> Iterator[Figure]:
    places = [_place(stand, number) for number in range(len(stand.checkouts))]
    for arguments in COMMANDS:
        runs = [
            [ran(place.checkout, arguments, place.environment) for _ in range(CALLS + 1)][1:]
            for place in places
        ]
        name = " ".join(["prover", *arguments])
        seconds = [median(one.seconds for one in calls) * 1000 for calls in runs]
        yield figure(name, "ms", Engine.SQLITE, seconds, Better.LESS)
        cpu = [median(one.cpu for one in calls) * 1000 for calls in runs]
        yield figure(name, "CPU ms", Engine.SQLITE, cpu, Better.LESS)


def _place(stand: Stand, number: int, listed: int = LISTED) -> Place:
    made = stand.place(stand.checkouts[number], Engine.SQLITE)
    place = made.given(THE_THREE_ALONE)
    with api(place.checkout, place.environment) as (_, port):
        posts(port, [round_of(f"listed-{number}") for number in range(listed)], 1)
    return place
