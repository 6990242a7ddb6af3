"""Host names and addresses, in the form in which they are compared."""

import ipaddress
import re

from attrs import frozen

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

LOCALHOST = "localhost"

# A name, an IPv4 address or an IPv6 address in brackets, and a port, but no user's name.
AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,255})(?::([0-9]{0,5}))?")
MAX_PORT = 65535


@frozen
class Authority:
    """A host, and a port where one is named.

    Args:
        host: An address, or a name in lower case without a dot at its end.
        port: None where none is named.
    """

    host: str | Address
    port: int | None

    def on(self, port: int) -> "Authority":
        """Return it with a port, this one if it names none."""
        return Authority(self.host, port) if self.port is None else self


def read_authority(text: str) -> Authority:
    """Read ``HOST`` or ``HOST:PORT``.

    Raises:
        ValueError: It is neither.
    """
    match = AUTHORITY.fullmatch(text)
    try:
        host = read_host(match[1]) if match else None
    except ValueError:
        host = None
    if match is None or host is None:
        raise ValueError("must be NAME or NAME:PORT, with an IPv6 address in brackets")
    port = int(match[2]) if match[2] else None
    if port is not None and port > MAX_PORT:
        raise ValueError(f"must have a port <= {MAX_PORT}")
    return Authority(host, port)


def read_host(text: str) -> str | Address:
    """Return an address as one, and a name in the one form that names are compared in.

    Raises:
        ValueError: It is in brackets and no IPv6 address.
    """
    if text.startswith("["):
        return plain_address(str(ipaddress.IPv6Address(text[1:-1])))
    name = text.lower().removesuffix(".")
    try:
        return ipaddress.IPv4Address(name)
    except ValueError:
        return name


def plain_address(text: str) -> Address:
    """Read an address: without its zone, and of IPv4 where an IPv6 one stands for such.

    Raises:
        ValueError: It is none.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def is_loopback(address: str) -> bool:
    """Return whether an address is reached from its own machine only."""
    return plain_address(address).is_loopback
