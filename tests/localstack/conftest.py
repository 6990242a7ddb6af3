"""LocalStack, started once for all tests that need it."""

import os
from collections.abc import Iterator

import pytest
from localstack_server import LocalStackMissing, localstack_server
from sqs_server import SqsEmulator


@pytest.fixture(scope="session")
def localstack() -> Iterator[SqsEmulator]:
    """LocalStack; where it can not be had, its tests are skipped, and fail in CI."""
    try:
        with localstack_server() as server:
            yield server
    except LocalStackMissing as error:
        if "CI" in os.environ:
            pytest.fail(str(error))
        pytest.skip(str(error))
