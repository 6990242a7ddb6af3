"""Open the node or the indexer that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from prover_framework.chain.sources.base import TAGS, HeaderSource
from prover_framework.errors import SettingsError
from prover_framework.settings import Settings

if TYPE_CHECKING:
    from prover_framework.chain.sources.node import EthereumNode


@asynccontextmanager
async def open_node(settings: Settings, tag: str = TAGS[0]) -> AsyncIterator["EthereumNode"]:
    """Open the node of the settings, to fetch headers from.

    Args:
        settings: They name it.
        tag: Which of its blocks is the newest one.

    Raises:
        SettingsError: They do not.
        SourceError: It is no URL of a node.
    """
    if settings.rpc_url is None:
        raise SettingsError("no node to fetch headers from: name it by --rpc-url or PROVER_RPC_URL")
    # Imported where it is used: few processes need an HTTP client, RLP and keccak.
    from prover_framework.chain.sources import node

    rate = node.RequestRate(
        batch=settings.rpc_batch,
        requests_per_second=settings.rpc_requests_per_second,
        retry_seconds=settings.rpc_retry_seconds,
    )
    async with node.open_node(settings.rpc_url, tag=tag, rate=rate) as source:
        yield source


@asynccontextmanager
async def open_indexer(
    settings: Settings, *, confirmations: int, light: bool
) -> AsyncIterator[HeaderSource]:
    """Open the indexer of the settings, to read headers from.

    Args:
        settings: They name it.
        confirmations: How many blocks have to follow one before it is taken.
        light: Take only what the base fee needs, which cannot be verified.

    Raises:
        SettingsError: They do not.
        SourceError: It cannot be used, and why.
    """
    if settings.indexer_url is None:
        raise SettingsError("no indexer: name it by --indexer-url or PROVER_INDEXER_URL")
    # Imported where it is used, as above.
    from prover_framework.chain.sources import indexer

    async with indexer.open_indexer(
        settings.indexer_url, confirmations=confirmations, light=light
    ) as source:
        yield source
