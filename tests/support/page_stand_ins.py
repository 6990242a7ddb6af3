"""What stands in, in the sessions of pages, for servers that a reader starts or has."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import islice

import pytest
from attrs import frozen
from node_server import node_in_thread
from sqs_server import SqsEmulator

from prover_framework.chain.sources.simulated import BLOCKS_PER_HOUR, made_whole, simulate

# An hour of headers from here on is what the node has, of a chain that is nobody's.
NODE_FROM = 1_700_002_800
NODE_CHAIN_ID = 1337


@frozen
class StandIn:
    """A running server.

    Args:
        places: What the page writes, and what takes its place in the session.
    """

    places: Mapping[str, str]


Maker = Callable[[pytest.FixtureRequest], AbstractContextManager[StandIn]]


@contextmanager
def _postgres(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    server = request.getfixturevalue("postgres")
    url = server.create_database()
    try:
        yield StandIn({"postgres://prover:prover@127.0.0.1:5432/prover": url})
    finally:
        server.drop_database(url)


@contextmanager
def _localstack(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    server = request.getfixturevalue("localstack")
    yield StandIn({"127.0.0.1:4566": server.url.removeprefix("http://")})


@contextmanager
def _sqs(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    moto: SqsEmulator = request.getfixturevalue("moto")
    yield StandIn({"http://127.0.0.1:4566": moto.url})


@contextmanager
def _node(_: pytest.FixtureRequest) -> Iterator[StandIn]:
    chain = list(islice(made_whole(simulate(NODE_FROM, 1, first_number=10)), BLOCKS_PER_HOUR))
    with node_in_thread(chain, NODE_CHAIN_ID) as server:
        yield StandIn({"https://node.example/v3/KEY": server.url})


STAND_INS: Mapping[str, Maker] = {
    "with PostgreSQL": _postgres,
    "with LocalStack": _localstack,
    "with SQS": _sqs,
    "with a node": _node,
}
