"""When a request is sent again, and after how long."""

import random
from typing import TypeVar

import httpx

from prover_framework.client.answers import error_of, refusal
from prover_framework.client.calls import Call
from prover_framework.errors import ServiceUnreachable
from prover_framework.urls import parse_http_url, public_http_name

T = TypeVar("T")

# How often a request is sent at the most, and how long it waits before the second time; twice as
# long before each further one.
TRIES = 4
FIRST_WAIT_SECONDS = 0.25

# What a service may ask for by Retry-After, at the most.
MAX_WAIT_SECONDS = 30.0

# Answers that say that nothing was done, and that it may be later.
LATER = frozenset({429, 503})

# After how long a stream that has ended is asked for again.
STREAM_WAIT_SECONDS = 2.0

TIMEOUT_SECONDS = 70.0
CONNECT_SECONDS = 10.0

USER_AGENT = "prover-framework"


def options(url: str, key: str | None, namespace: str | None) -> dict[str, object]:
    """Return how an HTTP client is made for a service."""
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return {
        "base_url": url,
        "headers": headers,
        "params": {} if namespace is None else {"namespace": namespace},
        "timeout": httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS),
        # A key is for the service that was named, and for nobody that it points to.
        "follow_redirects": False,
    }


def request(client: "httpx.Client | httpx.AsyncClient", call: Call[T]) -> httpx.Request:
    """Make the request of a call."""
    headers = {} if call.body is None else {"Content-Type": "application/json"}
    return client.build_request(
        call.method, call.path, params=dict(call.parameters), content=call.body, headers=headers
    )


def wait_after_failure(
    call: Call[T], error: httpx.HTTPError, tries: int, first_wait_seconds: float
) -> float | None:
    """Return after how many seconds to send a request again that was not answered; None: not."""
    unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    if tries >= TRIES or not (unsent or call.is_repeatable):
        return None
    return _wait(tries, first_wait_seconds)


def wait_after_answer(
    answer: httpx.Response, tries: int, first_wait_seconds: float
) -> float | None:
    """Return after how many seconds to send a request again that was put off; None: not."""
    if answer.status_code not in LATER or tries >= TRIES:
        return None
    asked = answer.headers.get("retry-after", "")
    if asked.isascii() and asked.isdigit():
        return min(MAX_WAIT_SECONDS, float(asked[:6]))
    return _wait(tries, first_wait_seconds)


def result(call: Call[T], answer: httpx.Response) -> T:
    """Return what an answer means.

    Raises:
        ProverError: The service refuses, and why.
    """
    if answer.is_success:
        return call.read(answer.content)
    message, group_id = refusal(answer.status_code, answer.content)
    if call.refused is not None:
        meaning = call.refused(answer.status_code, message, group_id)
        if meaning is not None:
            return meaning
    raise error_of(answer.status_code, message, group_id)


def unreachable(url: str, error: httpx.HTTPError) -> ServiceUnreachable:
    """Return the error for a service that does not answer."""
    why = str(error) or type(error).__name__
    return ServiceUnreachable(
        f"the service at {public_http_name(parse_http_url(url))} does not answer: {why}"
    )


def _wait(tries: int, first_wait_seconds: float) -> float:
    # Clients that failed together come back apart.
    return first_wait_seconds * 2.0 ** (tries - 1) * (0.5 + random.random() / 2)  # noqa: S311
