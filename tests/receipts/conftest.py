"""Receipts that a whole service has made."""

from collections.abc import Iterator

import pytest
from receipt_bench import ReceiptBench, receipt_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReceiptBench]:
    with receipt_bench(tmp_path_factory.mktemp("receipts")) as bench:
        yield bench
