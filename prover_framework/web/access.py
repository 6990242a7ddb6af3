"""Who may call the API: by which host names, and from which web pages.

A browser sends requests for any page that it shows, also to services of its own machine and
network. Two things tell them apart. The ``Origin`` and ``Sec-Fetch-Site`` headers name the page
that asks; pages of other origins are refused. And a page whose host name was made to lead here
(DNS rebinding) is of this service's origin for the browser, but its ``Host`` is not a name of this
service, so only known names are answered.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus

from prover_framework.errors import SettingsError
from prover_framework.hosts import (
    LOCALHOST,
    Address,
    Authority,
    is_loopback,
    plain_address,
    read_authority,
    read_host,
)
from prover_framework.text import quote
from prover_framework.web.framing import Head, Malformed

# Probes come by address, through any name of a cluster, and get no more than a status.
PROBES = ("/health", "/metrics")
HEALTH_TREE = "/health/"
READING = ("GET", "HEAD")

# Host names and addresses whose reading is remembered: far more than a service has.
MAX_REMEMBERED = 256

URL = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
HTTP_PORTS = {"http": 80, "https": 443}

# Sec-Fetch-Site of what the page itself, or the person who typed the address, asks for.
OWN_SITES = ("same-origin", "none")


def require_guarded(address: str, *, is_guarded: bool) -> None:
    """Require that whoever can reach an address may do so.

    Args:
        address: What is listened on.
        is_guarded: Whether callers need keys, or the operator says that everybody may call.

    Raises:
        SettingsError: Others can reach it, and nobody has said that they may.
    """
    if not is_guarded and not is_loopback(address):
        raise SettingsError(
            f"cannot listen on {address}: other machines reach it, and whoever does can use the "
            'whole API; listen on 127.0.0.1, make keys for its callers with "prover key api '
            'create", or say that everybody may call it with PROVER_OPEN=true or --open'
        )


class Refused(Exception):
    """Somebody who is not let in.

    Args:
        status: The answer's status.
        message: Why, and which setting changes it.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        self.status = status
        super().__init__(message)


class Access:
    """Decides by the head of a request whether it is handled.

    Args:
        allowed_hosts: Names and addresses of this service beside those of loopback and the one
            that a connection came to, each with or without a port. Pages under these names may
            call the API as well.
        listening: The name or address that the service was told to listen on.
    """

    def __init__(self, allowed_hosts: Iterable[str] = (), listening: str = LOCALHOST) -> None:
        self._allowed = frozenset(read_authority(text) for text in allowed_hosts)
        self._hosts = {allowed.host for allowed in self._allowed} | {LOCALHOST}
        # The same few clients ask again and again.
        self._authority = lru_cache(MAX_REMEMBERED)(read_authority)
        self._address = lru_cache(MAX_REMEMBERED)(plain_address)
        if ":" not in listening:
            self._hosts.add(read_host(listening))

    def require(self, head: Head, local_address: str) -> None:
        """Require that a request may be handled.

        Args:
            head: The request's.
            local_address: That of this machine which the connection came to.

        Raises:
            Malformed: It does not say for which host it is, or says it in two ways.
            Refused: It comes through another name than this service's, or from another's page.
        """
        named = self._authorities(head)
        if not _is_health_check(head):
            if not named:
                raise Refused(HTTPStatus.MISDIRECTED_REQUEST, "the request names no host")
            for text, authority in named:
                if authority is None or not self._is_ours(authority.host, local_address):
                    raise Refused(
                        HTTPStatus.MISDIRECTED_REQUEST,
                        f"this service is not known as {quote(text)}; "
                        "PROVER_ALLOWED_HOSTS names further hosts that it has",
                    )
        own = named[0][1] if named else None
        if own is not None and not self._is_ours(own.host, local_address):
            own = None
        self._require_own_page(head, own)

    def _authorities(self, head: Head) -> list[tuple[str, Authority | None]]:
        """Return what a request says for which host it is: the URL of its first line, and Host."""
        hosts = head.values("host")
        if len(hosts) > 1:
            raise Malformed("a request has one Host")
        if not hosts and head.version != "1.0":
            raise Malformed("a request of HTTP/1.1 must have a Host")
        texts = list(hosts)
        if url := URL.match(head.target):
            texts.insert(0, url[1])
        named: list[tuple[str, Authority | None]] = []
        for text in texts:
            try:
                named.append((text, self._authority(text) if text else None))
            except ValueError as error:
                raise Malformed(f"the host of the request {error}, got {quote(text)}") from None
        return named

    def _is_ours(self, host: str | Address, local_address: str) -> bool:
        if host in self._hosts:
            return True
        if isinstance(host, str):
            return False
        return host.is_loopback or host == self._address(local_address)

    def _require_own_page(self, head: Head, own: Authority | None) -> None:
        origins = head.values("origin")
        if origins:
            if all(self._is_own_origin(origin, own) for origin in origins):
                return
            raise Refused(
                HTTPStatus.FORBIDDEN,
                f"pages of {quote(', '.join(origins))} may not call this service; "
                "PROVER_ALLOWED_HOSTS names hosts whose pages may",
            )
        sites = head.values("sec-fetch-site")
        if all(site in OWN_SITES for site in sites) or _is_visit(head):
            return
        raise Refused(
            HTTPStatus.FORBIDDEN,
            f"{quote(', '.join(sites))} pages may not call this service; "
            "PROVER_ALLOWED_HOSTS names hosts whose pages may",
        )

    def _is_own_origin(self, origin: str, own: Authority | None) -> bool:
        scheme, separator, rest = origin.partition("://")
        if not separator or scheme not in HTTP_PORTS:
            return False
        try:
            page = read_authority(rest)
        except ValueError:
            return False
        # Where something ends TLS in front of this service, the page's scheme is not ours.
        usual = HTTP_PORTS[scheme]
        if own is not None and page.on(usual) == own.on(usual):
            return True
        return not self._allowed.isdisjoint({page, page.on(usual), Authority(page.host, None)})


def _is_health_check(head: Head) -> bool:
    path = head.target.partition("?")[0]
    return head.method in READING and (path in PROBES or path.startswith(HEALTH_TREE))


def _is_visit(head: Head) -> bool:
    """Return whether somebody follows a link: the answer is shown to him, not to the page."""
    return (
        head.method in READING
        and head.values("sec-fetch-mode") == ["navigate"]
        and head.values("sec-fetch-dest") == ["document"]
    )
