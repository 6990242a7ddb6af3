"""A client of the HTTP API, synchronous and asynchronous.

It needs ``httpx`` (``pip install prover-framework[client]``), and neither the service's database
nor its plugins. What is repeated after a failure is only what does no harm a second time.
"""

from prover_framework.client.aio import AsyncClient
from prover_framework.client.sync import Client

__all__ = ["AsyncClient", "Client"]
