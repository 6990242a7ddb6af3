"""Who is answered: by which host names, from which web pages, with what content type."""

import asyncio
import json

import pytest
from api_server import running, status_of

from prover_framework.errors import SettingsError
from prover_framework.web.access import Access, Refused, require_guarded
from prover_framework.web.framing import Malformed, read_head
from prover_framework.web.server import Exposure

LOCAL_ADDRESS = "192.0.2.7"
ACCESS = Access(
    ("prover.example", "Proxy.Example.:8443", "[2001:db8::1]", "192.0.2.99"), "prover.internal"
)


def judged(
    *fields: str, method: str = "GET", target: str = "/api/job/x", version: str = "1.1",
    local: str = LOCAL_ADDRESS,
) -> int:  # fmt: skip
    """Return the status that a request is refused with, or 200."""
    head = read_head("\r\n".join([f"{method} {target} HTTP/{version}", *fields]).encode())
    try:
        ACCESS.require(head, local)
    except (Refused, Malformed) as error:
        return int(error.status)
    return 200


# Hosts


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost",
        "localhost.",
        "localhost:3000",
        "localhost:",
        "localhost:65535",
        "127.0.0.1",
        "127.0.0.1:8080",
        "127.9.9.9",
        "[::1]",
        "[::1]:3000",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        LOCAL_ADDRESS,
        f"{LOCAL_ADDRESS}:3000",
        f"[::ffff:{LOCAL_ADDRESS}]",
        "192.0.2.99",
        "prover.example",
        "PROVER.EXAMPLE.",
        "prover.example:1",
        "proxy.example",
        "proxy.example:8443",
        "[2001:DB8:0::1]",
        "prover.internal:3000",
    ],
)
def test_names_of_this_service_are_answered(host: str) -> None:
    assert judged(f"Host: {host}") == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "rebound.evil.example:3000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "prover.example.evil.example",
        "xprover.example",
        "evil.localhost",
        "localhost..",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "0.0.0.0",
        "192.0.2.8",
        "[2001:db8::2]",
        "[::]",
        "169.254.169.254",
        "",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert judged(f"Host: {host}") == 421
    assert judged(f"Host: {host}", method="POST", target="/api/job") == 421


@pytest.mark.parametrize(
    "host",
    [
        "user@localhost",
        "localhost@evil.example",
        "user:word@localhost:3000",
        "localhost:x",
        "localhost:65536",
        "localhost:-1",
        "localhost:3000:3000",
        "localhost, localhost",
        "localhost evil.example",
        "localhost/",
        "http://localhost",
        "::1",
        "[::1",
        "[::1]x",
        "[:::1]",
        "[127.0.0.1]",
        "[fe80::1%25eth0]",
        "local\u00dfost",
        "%6cocalhost",
    ],
)
def test_what_is_no_host_is_malformed(host: str) -> None:
    assert judged(f"Host: {host}") == 400
    assert judged(f"Host: {host}", target="/health") == 400


def test_one_request_names_one_host() -> None:
    assert judged("Host: localhost", "Host: localhost") == 400
    assert judged("Host: localhost", "host: evil.example", target="/health") == 400
    assert judged() == 400
    assert judged(target="/health") == 400


def test_http_1_0_needs_no_host_where_probes_ask() -> None:
    assert judged(version="1.0", target="/health") == 200
    assert judged(version="1.0") == 421
    assert judged("Host: localhost", version="1.0") == 200


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/api/job/x", "localhost", 200),
        ("HTTP://LOCALHOST:3000/api/job/x", "localhost", 200),
        ("http://evil.example/api/job/x", "localhost", 421),
        ("http://localhost/api/job/x", "evil.example", 421),
        ("http://localhost@evil.example/api/job/x", "localhost", 400),
        ("http://evil.example\\@localhost/api/job/x", "localhost", 400),
        ("http://evil.example#@localhost/", "localhost", 421),
        ("http:///api/job/x", "localhost", 421),
        ("//evil.example/api/job/x", "evil.example", 421),
        ("http://evil.example/health", "evil.example", 421),
    ],
)
def test_a_url_as_target_names_a_host_as_well(target: str, host: str, status: int) -> None:
    assert judged(f"Host: {host}", target=target) == status


# Probes


@pytest.mark.parametrize("target", ["/health", "/health?x=1", "/health/ready", "/metrics"])
def test_probes_ask_by_any_name_but_for_no_other_page(target: str) -> None:
    rebound = "Host: rebound.example:3000"
    assert judged(rebound, target=target) == 200
    assert judged(rebound, target=target, method="HEAD") == 200
    assert judged(rebound, target=target, method="POST") == 421
    for page in ("http://rebound.example:3000", "http://evil.example", "null"):
        assert judged(rebound, f"Origin: {page}", target=target) == 403
    assert judged("Host: localhost", "Sec-Fetch-Site: cross-site", target=target) == 403


@pytest.mark.parametrize("target", ["/healthy", "/metrics/x", "/api/../health", "/HEALTH", "/"])
def test_what_looks_like_a_probe_is_none(target: str) -> None:
    assert judged("Host: rebound.example", target=target) == 421


# Pages


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:3000", "http://localhost:3000"),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost"),
        ("127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("[::1]:3000", "http://[::1]:3000"),
        # TLS that something else ends, on the usual port and on another.
        ("prover.example", "https://prover.example"),
        ("localhost:3000", "https://prover.example"),
        ("localhost:3000", "http://prover.example:8080"),
        ("localhost:3000", "https://proxy.example:8443"),
        ("prover.internal:3000", "http://prover.internal:3000"),
    ],
)
def test_own_pages_may_call(host: str, origin: str) -> None:
    for method in ("GET", "POST"):
        assert judged(f"Host: {host}", f"Origin: {origin}", method=method) == 200
    # The browser calls a page of an allowed host cross-site.
    assert judged(f"Host: {host}", f"Origin: {origin}", "Sec-Fetch-Site: cross-site") == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "https://evil.example:3000",
        "http://localhost.evil.example:3000",
        "http://localhost:3001",
        "http://127.0.0.1:3000",
        "https://localhost",
        "https://proxy.example",
        "http://proxy.example:80",
        "chrome-extension://abcdef",
        "file://",
        "localhost:3000",
        "http://localhost:3000/",
        "http://user@localhost:3000",
        "http://localhost:3000 http://evil.example",
        "http://localhost:3000, http://evil.example",
    ],
)
def test_other_pages_may_not(origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS"):
        assert judged("Host: localhost:3000", f"Origin: {origin}", method=method) == 403


def test_a_second_origin_does_not_hide_the_first() -> None:
    fields = ("Host: localhost:3000", "Origin: http://localhost:3000")
    assert judged(*fields, "Origin: http://evil.example") == 403
    assert judged(*reversed(fields), "Origin: null") == 403


@pytest.mark.parametrize(
    ("fields", "get", "post"),
    [
        (("Sec-Fetch-Site: same-origin",), 200, 200),
        (("Sec-Fetch-Site: none",), 200, 200),
        (("Sec-Fetch-Site: cross-site",), 403, 403),
        (("Sec-Fetch-Site: same-site",), 403, 403),
        (("Sec-Fetch-Site: none", "Sec-Fetch-Site: cross-site"), 403, 403),
        (("Sec-Fetch-Site: something-new",), 403, 403),
        # A link that somebody follows, and a form and a frame on another page.
        (
            (
                "Sec-Fetch-Site: cross-site",
                "Sec-Fetch-Mode: navigate",
                "Sec-Fetch-Dest: document",
            ),
            200,
            403,
        ),
        (
            ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"),
            403,
            403,
        ),
        (("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"), 403, 403),
    ],
)
def test_what_a_browser_says_about_the_page(fields: tuple[str, ...], get: int, post: int) -> None:
    assert judged("Host: localhost", *fields) == get
    assert judged("Host: localhost", *fields, method="POST") == post


# Over sockets

BODY = b'{"job_group_id": "x"}'


def post(*fields: bytes, path: bytes = b"/api/job") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", *fields, b"Content-Length: %d" % len(BODY)]
    return b"\r\n".join(lines) + b"\r\nConnection: close\r\n\r\n" + BODY


async def _statuses(*requests: bytes, exposure: Exposure) -> list[tuple[int, str]]:
    answers: list[tuple[int, str]] = []
    async with running(exposure=exposure) as api, asyncio.timeout(30):
        for request in requests:
            answer = await api.exchange(request)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert b"access-control" not in head.lower()
            answers.append((status_of(answer), json.loads(body).get("message", "")))
    return answers


async def test_a_rebound_host_a_foreign_page_and_another_type_are_refused_before_any_handler() -> (
    None
):
    kind, host = b"Content-Type: application/json", b"Host: localhost"
    exposure = Exposure(allowed_hosts=("prover.example",))
    own, named, rebound, foreign, plain, none = await _statuses(
        post(host, kind),
        post(b"Host: prover.example", kind, b"Origin: https://prover.example"),
        post(b"Host: rebound.example", kind, b"Origin: http://rebound.example"),
        post(host, kind, b"Origin: http://evil.example"),
        post(host, b"Content-Type: text/plain"),
        post(host),
        exposure=exposure,
    )
    assert own[0] == named[0] == 200
    assert rebound == (
        421,
        (
            "this service is not known as 'rebound.example'; "
            "PROVER_ALLOWED_HOSTS names further hosts that it has"
        ),
    )
    assert foreign == (
        403,
        (
            "pages of 'http://evil.example' may not call this service; "
            "PROVER_ALLOWED_HOSTS names hosts whose pages may"
        ),
    )
    assert plain == (415, "the content type must be application/json, got 'text/plain'")
    assert none == (415, "the content type must be application/json, got none")


async def test_a_probe_by_any_name_gets_the_status_alone() -> None:
    async with running() as api:
        answer = await api.exchange(
            b"GET /health HTTP/1.1\r\nHost: 203.0.113.9\r\nConnection: close\r\n\r\n"
        )
    assert status_of(answer) == 200
    assert answer.endswith(b'\r\n\r\n{"status": "ok"}')


# Addresses


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_needs_no_word(address: str) -> None:
    require_guarded(address, is_guarded=False)


@pytest.mark.parametrize(
    "address", ["0.0.0.0", "::", "192.168.1.5", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1"]
)
def test_other_addresses_have_to_be_called_open(address: str) -> None:
    require_guarded(address, is_guarded=True)
    with pytest.raises(SettingsError, match=r"PROVER_OPEN=true or --open$") as caught:
        require_guarded(address, is_guarded=False)
    assert "\n" not in str(caught.value)
