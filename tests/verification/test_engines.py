"""The same headers give the same statements, whatever database they lie in."""

import json
from itertools import permutations
from pathlib import Path

from postgres_server import PostgresServer
from receipt_bench import ReceiptBench, receipt_bench, told

from prover_framework.seals.keys import PinnedKey


def test_sqlite_and_postgresql_verify_each_others_receipts(
    postgres: PostgresServer, postgres_template: str, tmp_path: Path
) -> None:
    url = postgres.create_database(postgres_template)
    try:
        with (
            receipt_bench(tmp_path / "sqlite") as embedded,
            receipt_bench(tmp_path / "postgresql", database_url=url) as server,
        ):
            assert list((tmp_path / "sqlite").glob("*.sqlite3"))
            assert not list((tmp_path / "postgresql").glob("*.sqlite3"))
            assert statements(embedded) == statements(server)
            for judge, maker in permutations((embedded, server)):
                report = judge.verify(maker.group, pinned=(PinnedKey(maker.key.public_key.hex()),))
                assert report.accepted, told(report)
    finally:
        postgres.drop_database(url)


def statements(bench: ReceiptBench) -> list[object]:
    group = json.loads(bench.group)
    return [
        *(receipt["statement"] for receipt in group["receipts"]),
        *group["statement"]["composed"],
    ]
