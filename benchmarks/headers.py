"""Headers: their import on both engines, and their verification."""

import os
from collections.abc import Iterator
from pathlib import Path

from attrs import evolve
from history import inside, plain_headers
from jobs import figure
from processes import Ran, ran
from report import Better, Figure, Table, compared
from stand import Engine, Place, Stand

# Eight months of blocks.
IMPORTED = 1_700_000

# Half a round of 30 days.
VERIFIED = 100_000


def importing(stand: Stand) -> Iterator[Table]:
    """Measure the import of a file of CSV, with hourly sums."""
    yield compared(f"prover headers import of {IMPORTED:,} headers", _imports(stand))


def _imports(stand: Stand) -> Iterator[Figure]:
    file = plain_headers(stand.folder("import") / "headers.csv", IMPORTED)
    for engine in (Engine.SQLITE, Engine.POSTGRES):
        places = [stand.place(checkout, engine) for checkout in stand.checkouts]
        found = [_import(place, file) for place in places]
        for work, unit, values in (
            ("until all is stored", "s", [one.seconds for one in found]),
            ("command and server", "CPU s", [one.cpu for one in found]),
            ("the command's memory", "MiB", [one.memory for one in found]),
        ):
            yield figure(work, unit, engine, values, Better.LESS)


def _import(place: Place, file: Path) -> Ran:
    server = place.server_time()
    command = ran(place.checkout, ["headers", "import", file], place.environment)
    return evolve(command, cpu=command.cpu + place.server_time() - server)


def verifying(stand: Stand) -> Iterator[Table]:
    """Measure the rules of the chain over whole headers, by one process and by two."""
    yield compared(
        f"Verification of {VERIFIED:,} whole headers",
        _verifying(stand),
        "Fields are put together, and the rules alone gone through, for a quarter of them. This "
        f"machine has {os.cpu_count()} cores.",
    )


def _verifying(stand: Stand) -> Iterator[Figure]:
    places = [stand.place(checkout, Engine.SQLITE) for checkout in stand.checkouts]
    found = [
        inside(place.checkout, "verification", place.database, str(VERIFIED)) for place in places
    ]
    for name, work, unit in (
        ("encoding", "a header put together from its fields, with its hash", "CPU µs"),
        ("rules", "a header: RLP, keccak, link, base fee", "CPU µs"),
        ("one", "a stored header, by one process", "µs"),
        ("two", "a stored header, by two processes", "µs"),
    ):
        yield figure(work, unit, Engine.SQLITE, [one[name] for one in found], Better.LESS)
    gains = [one["one"] / one["two"] for one in found]
    yield figure("two processes beside one", "times", Engine.SQLITE, gains, Better.MORE)
