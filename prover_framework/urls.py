"""URLs of databases, nodes and queues: what is in them, and what of it may be shown.

A URL can hold a password, and one that is not escaped can look like any other part of it. So names
that people may see are put together from parts that were parsed, never cut out of the text, and no
message about a URL repeats any of it.
"""

import math
from collections.abc import Mapping
from typing import Final, Literal, TypeVar, get_args
from urllib.parse import SplitResult, unquote, urlsplit

from attrs import field, frozen

T = TypeVar("T")

POSTGRES_SCHEMES: Final = ("postgres://", "postgresql://")
DEFAULT_PORT: Final = 5432
MAX_PORT: Final = 65535

# Linux takes no longer times (in seconds) and no more probes for keep-alives; a user timeout is an
# integer of 32 bits.
MAX_KEEPALIVE_SECONDS: Final = 32767
MAX_KEEPALIVE_COUNT: Final = 127
MAX_INTEGER: Final = 2**31 - 1

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]

TargetSession = Literal["any", "read-write", "primary", "read-only", "standby", "prefer-standby"]

# The value of sslrootcert by which libpq takes the authorities that the machine trusts.
SYSTEM_ROOTS: Final = "system"

# A password that is shorter is not looked for in texts: it would be found in too many words.
_SHORTEST_SECRET: Final = 4

FORM: Final = (
    "must be of the form postgres://USER:PASSWORD@HOST:PORT/NAME; write special characters in a "
    "password as %XX (@ as %40, / as %2F, ? as %3F, # as %23, % as %25)"
)

# What libpq knows and the driver does not, and what helps instead.
_UNSUPPORTED: Final[Mapping[str, str]] = {
    "hostaddr": "name the address as the host",
    "service": "write into the URL what the service file says",
    "servicefile": "write into the URL what the service file says",
    "replication": "the service does not replicate",
    "require_auth": "leave it out; sslmode=verify-full makes sure who is asked",
    "sslcertmode": "leave it out",
    "sslkeylogfile": "leave it out",
    "sslcrldir": "name one file with sslcrl",
    "scram_client_key": "use a password",
    "scram_server_key": "use a password",
    "requirepeer": "leave it out",
    "requiressl": "write sslmode=require",
    "gssdelegation": "leave it out",
    "oauth_issuer": "use a password",
    "oauth_client_id": "use a password",
    "oauth_client_secret": "use a password",
    "oauth_scope": "use a password",
}

# What other libraries read in such URLs. They are named in messages, as what libpq knows is: only
# words that are known before cannot be a piece of somebody's password.
_FOREIGN: Final = frozenset(
    {
        "pgbouncer", "schema", "search_path", "connection_limit", "pool_timeout", "pool_size",
        "max_connections", "min_connections", "socket_timeout", "statement_cache_mode",
        "statement_cache_size", "statement_timeout", "lock_timeout", "sslaccept", "sslidentity",
        "supa", "workaround", "uselibpqcompat", "prepare_threshold", "prepareThreshold",
        "currentSchema", "minsize", "maxsize", "command_timeout", "timezone", "jit",
    }
)  # fmt: skip

# Accepted in every value, since it makes no difference here. A writer takes the one host that can
# be written to, in whatever order they are tried.
_IGNORED: Final = frozenset(
    {"krbsrvname", "gsslib", "sslcompression", "sslsni", "load_balance_hosts"}
    | {"min_protocol_version", "max_protocol_version"}
)

_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


@frozen
class Host:
    """Where a server listens: a name or an address, or the directory of a Unix socket.

    Args:
        name: The name; one that begins with ``/`` is a directory. None: the driver's default.
        port: The port.
    """

    name: str | None
    port: int

    @property
    def public(self) -> str:
        """What may be said of it."""
        if self.name is None:
            return ""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == DEFAULT_PORT else f"{name}:{self.port}"


@frozen
class KeepAlives:
    """How a silent connection is noticed by the kernel; None: as the engine says.

    Args:
        enabled: Whether it is looked for at all.
        idle_seconds: Silence before the first probe.
        interval_seconds: Time between probes.
        count: Probes without an answer that end a connection.
        user_timeout_ms: How long what was sent may stay unconfirmed.
    """

    enabled: bool = True
    idle_seconds: int | None = None
    interval_seconds: int | None = None
    count: int | None = None
    user_timeout_ms: int | None = None


@frozen(kw_only=True)
class PostgresUrl:
    """A database on PostgreSQL, as its URL names it.

    Args:
        hosts: The servers, in the order in which they are tried.
        database: The database. A URL without one is more often a mistake than meant.
        user: The user; None: as libpq finds it (``PGUSER``, the operating system's user).
        password: The password; None: as libpq finds it (``PGPASSWORD``, the password file).
        passfile: The password file; None: ``PGPASSFILE``, then ``~/.pgpass``.
        sslmode: None: ``PGSSLMODE``, then ``prefer``.
        ssl: Further parameters of TLS: names of files, ``sslpassword``, protocol versions.
        direct_tls: Whether TLS begins without asking the server first.
        connect_seconds: How long one attempt to connect may take; None: as the engine says.
        application_name: What the server's views show; None: as the engine says.
        options: Options of the command line for the server's session.
        target_session_attrs: Which servers are wanted; None: any.
        keepalives: How a silent connection is noticed.
    """

    hosts: tuple[Host, ...]
    database: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    passfile: str | None = None
    sslmode: SslMode | None = None
    ssl: Mapping[str, str] = field(factory=dict, repr=False)
    direct_tls: bool = False
    connect_seconds: float | None = None
    application_name: str | None = None
    options: str | None = field(default=None, repr=False)
    target_session_attrs: TargetSession | None = None
    keepalives: KeepAlives = KeepAlives()

    @property
    def public(self) -> str:
        """What messages call the database: its name and where it is."""
        where = ",".join(host.public for host in self.hosts if host.name is not None)
        return f"{self.database}{f' on {where}' if where else ''}"

    def redacted(self, text: str) -> str:
        """Return a text of the driver or the server without the secrets of this URL."""
        for secret in (self.password, self.ssl.get("sslpassword")):
            if secret and len(secret) >= _SHORTEST_SECRET:
                text = text.replace(secret, "***")
        return text


class UrlError(ValueError):
    """A URL cannot be used; the message repeats nothing of it. It reads after a setting's name."""


def parse_postgres_url(text: str, *, writes: bool = True) -> PostgresUrl:
    """Parse a URL as libpq does, with all of its parameters.

    Args:
        text: The URL.
        writes: Whether the database is to be written to.

    Raises:
        UrlError: It cannot be used, and what to write instead.
    """
    scheme = next((scheme for scheme in POSTGRES_SCHEMES if text.startswith(scheme)), None)
    if scheme is None:
        raise UrlError("must begin with postgres://")
    before, _, query = text.removeprefix(scheme).partition("?")
    authority, _, path = before.partition("/")
    if "@" in path or "@" in query or "#" in path + query:
        # What was meant as a password may be host, name or parameter here.
        raise UrlError(FORM)
    credentials, _, hosts = authority.rpartition("@")
    user, _, password = credentials.partition(":")
    parameters = _parameters(query)
    given = {
        **{
            name: _unescaped(value)
            for name, value in (("user", user), ("password", password), ("dbname", path))
            if value
        },
        **{name: value for name, value in parameters.items() if value},
    }
    _refuse_what_is_not_had(given)
    database = given.get("dbname", "")
    if not database.strip("/"):
        raise UrlError(FORM)
    if given.get("sslrootcert") == SYSTEM_ROOTS:
        given.setdefault("sslmode", "verify-full")
    target = _one_of(given, "target_session_attrs", get_args(TargetSession))
    if writes and target in ("read-only", "standby", "prefer-standby"):
        raise UrlError(
            f"has target_session_attrs={target}, and the service has to write: leave it out"
        )
    return PostgresUrl(
        hosts=_hosts(hosts, given),
        user=given.get("user"),
        password=given.get("password"),
        database=database,
        passfile=given.get("passfile"),
        sslmode=_one_of(given, "sslmode", get_args(SslMode)),
        ssl=_ssl(given),
        direct_tls=_direct_tls(given),
        connect_seconds=_connect_seconds(given),
        application_name=given.get("application_name") or given.get("fallback_application_name"),
        options=given.get("options"),
        target_session_attrs=target,
        keepalives=KeepAlives(
            enabled=_integer(given, "keepalives", 1) != 0,
            idle_seconds=_positive(given, "keepalives_idle", MAX_KEEPALIVE_SECONDS),
            interval_seconds=_positive(given, "keepalives_interval", MAX_KEEPALIVE_SECONDS),
            count=_positive(given, "keepalives_count", MAX_KEEPALIVE_COUNT),
            user_timeout_ms=_positive(given, "tcp_user_timeout", MAX_INTEGER),
        ),
    )


def parse_http_url(text: str) -> SplitResult:
    """Split a URL of a node, a queue or an endpoint.

    Raises:
        UrlError: It is none, or its parts cannot be told apart.
    """
    must = "must begin with https:// or http:// and name a host"
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UrlError(must)
    if "@" in text.removeprefix(f"{parts.scheme}://").removeprefix(parts.netloc):
        # What was meant as a password may be host and path here.
        raise UrlError(f"{must}; write @ as %40 in it, and special characters in a password as %XX")
    return parts


def public_http_name(parts: SplitResult) -> str:
    """Return what may be said of a URL: its host and its port.

    Keys of providers are in paths and parameters, passwords before the host.
    """
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    return host if parts.port is None else f"{host}:{parts.port}"


def _parameters(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, pair in enumerate(query.split("&") if query else (), 1):
        name, equals, value = pair.partition("=")
        if name == "ssl" and value == "true":
            # As in JDBC; libpq takes it, too.
            name, value = "sslmode", "require"
        if name in _FOREIGN:
            raise UrlError(
                f"has the parameter {name}, which is another library's: leave it out "
                "(settings of the server's session go into options=-c%20NAME=VALUE)"
            )
        if not equals or name not in _KNOWN:
            raise UrlError(
                f"has a parameter that libpq does not know, number {place} after the `?`: leave "
                "it out; in a password write ? as %3F and & as %26"
            )
        found[name] = _unescaped(value)
    return found


def _refuse_what_is_not_had(given: Mapping[str, str]) -> None:
    for name in given:
        if name in _UNSUPPORTED:
            raise UrlError(
                f"has {name}, which the driver of this service does not have: {_UNSUPPORTED[name]}"
            )
    if _one_of(given, "channel_binding", ("disable", "prefer", "require")) == "require":
        raise UrlError(
            "has channel_binding=require, which the driver of this service does not have: leave it "
            "out and write sslmode=verify-full, which makes sure of the server in another way"
        )
    if _one_of(given, "gssencmode", ("disable", "prefer", "require")) == "require":
        raise UrlError(
            "has gssencmode=require, which the driver of this service does not have: write "
            "sslmode=verify-full"
        )
    if given.get("client_encoding", "utf8").lower().replace("-", "") not in ("utf8", "auto"):
        raise UrlError("has a client_encoding other than UTF8: leave it out")


def _hosts(text: str, given: Mapping[str, str]) -> tuple[Host, ...]:
    names: list[str] = []
    ports: list[str] = []
    for entry in text.split(",") if text else ():
        name, port = _split_host(entry)
        names.append(_unescaped(name))
        ports.append(_unescaped(port))
    if "host" in given:
        names = given["host"].split(",")
        # Ports that are written beside other hosts are not theirs.
        ports = ports if len(ports) == len(names) else [""]
    if "port" in given:
        ports = given["port"].split(",")
    if not names:
        names = [""] * max(1, len(ports))
    if len(ports) == 1 or not ports:
        ports = (ports or [""]) * len(names)
    if len(ports) != len(names):
        raise UrlError("must name as many ports as hosts, or one port for all")
    if any("@" in name or (":" in name and "/" in name) for name in names):
        raise UrlError(FORM)
    return tuple(Host(name or None, _port(port)) for name, port in zip(names, ports, strict=True))


def _split_host(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, bracket, rest = entry[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UrlError(FORM)
        return name, rest[1:]
    name, _, port = entry.partition(":")
    return name, port


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) <= MAX_PORT):
        # It may be the rest of a password.
        raise UrlError(FORM)
    return int(text)


def _ssl(given: Mapping[str, str]) -> dict[str, str]:
    names = (*_FILES, "sslpassword", "ssl_min_protocol_version", "ssl_max_protocol_version")
    found = {name: given[name] for name in names if name in given}
    for name in ("ssl_min_protocol_version", "ssl_max_protocol_version"):
        _one_of(given, name, ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"))
    if found.get("sslrootcert") == SYSTEM_ROOTS and given["sslmode"] != "verify-full":
        raise UrlError("has sslrootcert=system, which needs sslmode=verify-full")
    return found


def _direct_tls(given: Mapping[str, str]) -> bool:
    direct = _one_of(given, "sslnegotiation", ("postgres", "direct")) == "direct"
    if direct and given.get("sslmode") not in ("require", "verify-ca", "verify-full"):
        raise UrlError("has sslnegotiation=direct, which needs sslmode=require or more")
    return direct


def _connect_seconds(given: Mapping[str, str]) -> float | None:
    """Return the time for an attempt; libpq takes zero and less for no limit."""
    seconds = _integer(given, "connect_timeout", 0)
    return float(seconds) if seconds > 0 else None


def _one_of(given: Mapping[str, str], name: str, values: tuple[T, ...]) -> T | None:
    value = given.get(name)
    if value is None:
        return None
    if value not in values:
        raise UrlError(f"must have one of {', '.join(map(str, values))} as {name}")
    return value


def _integer(given: Mapping[str, str], name: str, default: int) -> int:
    try:
        number = float(given.get(name, default))
    except ValueError:
        number = math.nan
    if not (abs(number) <= MAX_INTEGER and number == int(number)):
        raise UrlError(f"must have a whole number as {name}")
    return int(number)


def _positive(given: Mapping[str, str], name: str, most: int) -> int | None:
    """Return a number for the kernel; libpq takes zero for the system's default."""
    number = _integer(given, name, 0)
    return min(number, most) if number > 0 else None


def _unescaped(text: str) -> str:
    _check_escapes(text)
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UrlError(FORM) from None
    if "\0" in plain:
        raise UrlError(FORM)
    return plain


def _check_escapes(text: str) -> None:
    for part in text.split("%")[1:]:
        if len(part) < 2 or not all(sign in "0123456789abcdefABCDEF" for sign in part[:2]):
            raise UrlError(FORM)


_KNOWN: Final = frozenset(
    (
        *_UNSUPPORTED, *_IGNORED, *_FILES,
        "host", "port", "dbname", "user", "password", "passfile", "connect_timeout", "options",
        "application_name", "fallback_application_name", "client_encoding", "channel_binding",
        "gssencmode", "sslmode",
        "sslpassword", "sslnegotiation", "ssl_min_protocol_version", "ssl_max_protocol_version",
        "target_session_attrs", "keepalives", "keepalives_idle", "keepalives_interval",
        "keepalives_count", "tcp_user_timeout",
    )
)  # fmt: skip
