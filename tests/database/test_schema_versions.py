"""Schemas of other versions: older ones are migrated with all their data, or refused by name."""

import asyncio
import subprocess
import sys
from pathlib import Path

from empty_database import open_empty
from postgres_server import PostgresServer
from tortoise.migrations.executor import MigrationExecutor, MigrationTarget

from prover_framework.database.database import Database
from prover_framework.database.engine import MIGRATIONS_TABLE
from prover_framework.database.orm import APP, APPS

COMMAND = [sys.executable, "-c", "from prover_framework.cli import main; main()"]

# A start that is refused ends at once; one that is not would run until somebody stops it.
REFUSAL_SECONDS = 60

# A row for each table of the first version.
ROWS = {
    "job_group": "(id, submission, created_at) VALUES ('g', 's', 1)",
    "job": "(id, group_id, proof_type, parameters, queue, state, sends, attempts, failures, losses,"
    " not_before, created_at, result) VALUES ('j', 'g', 't', '{}', 'q', 'succeeded', 1, 1, 0, 0,"
    " 1, 1, '1.5')",
    "queue_message": "(queue, body, visible_at, receive_count) VALUES ('q', 'body', 1, 0)",
    "dead_letter": "(queue, body, reason, died_at) VALUES ('q', 'dead', 'why', 1)",
    "chain": "(id, chain_id, simulated, source) VALUES (1, 1, FALSE, 'here')",
    "block_header": "(number, timestamp, base_fee_wei, gas_used, gas_limit, block_hash,"
    " parent_hash) VALUES (7, 3600, 9000000000, 1, 2, '0x07', '0x06')",
    "hourly_base_fee": "(hour, sum_wei, count, first_block, last_block)"
    " VALUES (3600, 9000000000, 1, 7, 7)",
}

# Messages only said that there are jobs, and what could not be understood was kept for nobody.
KEPT = [table for table in ROWS if table not in ("queue_message", "dead_letter")]

# What nothing has read since.
DROPPED = {("job_group", "submission")}


async def make_first_version(url: str) -> None:
    async with open_empty(url) as client:
        executor = MigrationExecutor(client, dict(APPS))
        # As the service does: an error would end the transaction.
        await executor.recorder.ensure_schema(executor._schema_editor(atomic=False))
        await executor.migrate([MigrationTarget(APP, "0001_initial")])


async def test_data_of_the_first_version_is_kept(empty_url: str) -> None:
    async def rows(database: Database) -> dict[str, list[dict[str, object]]]:
        return {
            table: [dict(row) for row in await database.read(f"SELECT * FROM {table}")]
            for table in KEPT
        }

    await make_first_version(empty_url)
    async with Database(empty_url) as database:
        for table, values in ROWS.items():
            await database.write(f"INSERT INTO {table} {values}")
        before = await rows(database)
        assert await database.migrate()
        after = await rows(database)
        await database.require_schema()
    assert [len(found) for found in before.values()] == [1] * len(KEPT)
    for table, (row,) in before.items():
        (migrated,) = after[table]
        kept = {column: row[column] for column in row if (table, column) not in DROPPED}
        assert kept.items() <= migrated.items()
    assert after["job"][0]["proof_type"] == "t"
    assert not after["block_header"][0]["verified"]
    assert after["hourly_base_fee"][0]["verified_count"] == 0


async def test_every_table_of_the_first_version_is_tried(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/prover.sqlite3"
    await make_first_version(url)
    async with Database(url) as database:
        found = await database.read(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
        assert ({row["name"] for row in found}) == {*ROWS, MIGRATIONS_TABLE}


def prover(url: str, directory: Path, command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, command],
        env={"DATABASE_URL": url, "PROVER_PORT": "0", "PROVER_PLUGINS": ""},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=REFUSAL_SECONDS,
    )


def refusal(url: str, directory: Path, command: str) -> str:
    """Return the one line with which a command refuses to start."""
    done = prover(url, directory, command)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("prover: the schema of the database ")
    assert "pass-word" not in line
    return line


async def test_a_schema_that_is_behind_is_refused_with_the_command(
    empty_url: str, tmp_path: Path
) -> None:
    await make_first_version(empty_url)
    for command in ("api", "worker"):
        line = refusal(empty_url, tmp_path, command)
        assert "lacks 0002_receipts_and_whole_headers" in line
        assert line.endswith("run `prover migrate`")
    assert prover(empty_url, tmp_path, "migrate").returncode == 0


async def test_a_schema_that_is_ahead_is_refused_by_all(database_url: str, tmp_path: Path) -> None:
    async with Database(database_url) as database:
        await database.write(
            f"INSERT INTO {MIGRATIONS_TABLE} (app, name, applied_at)"
            f" VALUES ('{APP}', '9999_later', CURRENT_TIMESTAMP)"
        )
    for command in ("worker", "migrate"):
        line = refusal(database_url, tmp_path, command)
        assert line.endswith(
            "does not know 9999_later: run the version that made it, or a later one"
        )


async def test_an_empty_server_is_left_to_whoever_looks_after_it(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    url = postgres.create_database()
    assert refusal(url, tmp_path, "worker").endswith("run `prover migrate`")

    async def migrate() -> list[str]:
        async with Database(url) as database:
            return await database.migrate()

    async def migrate_at_once() -> list[list[str]]:
        return await asyncio.gather(
            *(asyncio.to_thread(lambda: asyncio.run(migrate())) for _ in range(3))
        )

    applied = sorted(await migrate_at_once())
    assert applied[:2] == [[], []]
    assert applied[2][0] == "0001_initial"
    postgres.drop_database(url)
