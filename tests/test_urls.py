"""URLs are parsed as libpq does, and nothing that is secret in one is ever said."""

import string
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.database.database import Database
from prover_framework.settings import Settings, load_settings
from prover_framework.urls import (
    Host,
    KeepAlives,
    PostgresUrl,
    UrlError,
    parse_http_url,
    parse_postgres_url,
    public_http_name,
)

BASE = "postgres://me:pw@host/db"


def at(
    *hosts: tuple[str | None, int],
    database: str = "db",
    user: str | None = None,
    password: str | None = None,
) -> PostgresUrl:
    return PostgresUrl(
        hosts=tuple(Host(*host) for host in hosts),
        database=database,
        user=user,
        password=password,
    )


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("postgres://me:pw@host/db", at(("host", 5432), user="me", password="pw")),
        ("postgresql://host:5433/db", at(("host", 5433))),
        ("postgres://me@host/db", at(("host", 5432), user="me")),
        ("postgres://:pw@host/db", at(("host", 5432), password="pw")),
        ("postgres:///db", at((None, 5432))),
        ("postgres://me@[::1]:5433/db", at(("::1", 5433), user="me")),
        ("postgres://%2Frun%2Fpg:5433/db", at(("/run/pg", 5433))),
        ("postgres:///db?host=/run/pg&port=5433", at(("/run/pg", 5433))),
        ("postgres://host?dbname=db&user=me", at(("host", 5432), user="me")),
        ("postgres://host/a%2Fb%20c", at(("host", 5432), database="a/b c")),
        ("postgres://m%40e:p%3A%2F%25@h/db", at(("h", 5432), user="m@e", password="p:/%")),
        # As other libraries take it, too: nothing else can be meant.
        ("postgres://me:p@:w@h/db", at(("h", 5432), user="me", password="p@:w")),
        ("postgres://a:1,b,[::1]:3/db", at(("a", 1), ("b", 5432), ("::1", 3))),
        ("postgres:///db?host=a,b&port=7", at(("a", 7), ("b", 7))),
        ("postgres:///db?host=a,b&port=7,8", at(("a", 7), ("b", 8))),
        ("postgres://h/db?password=a%26b", at(("h", 5432), password="a&b")),
    ],
)
def test_hosts_names_and_passwords(url: str, parsed: PostgresUrl) -> None:
    assert parse_postgres_url(url) == parsed


def parameters(text: str) -> PostgresUrl:
    return parse_postgres_url(f"{BASE}?{text}")


def test_parameters_of_libpq() -> None:
    found = parameters(
        "sslmode=verify-full&sslrootcert=/r.crt&sslcert=c&sslkey=k&sslpassword=geheim&sslcrl=l"
        "&ssl_min_protocol_version=TLSv1.3&connect_timeout=7&application_name=mine&passfile=/p"
        "&options=-c%20search_path%3Dother&keepalives_idle=9&keepalives_interval=3"
        "&keepalives_count=4&tcp_user_timeout=5000&target_session_attrs=primary"
        "&channel_binding=prefer&gssencmode=disable&client_encoding=UTF8&sslnegotiation=direct"
    )
    assert found.sslmode == "verify-full"
    assert found.ssl == {
        "sslrootcert": "/r.crt",
        "sslcert": "c",
        "sslkey": "k",
        "sslcrl": "l",
        "sslpassword": "geheim",
        "ssl_min_protocol_version": "TLSv1.3",
    }
    assert found.direct_tls
    assert (found.connect_seconds, found.application_name) == (7, "mine")
    assert (found.passfile, found.options) == ("/p", "-c search_path=other")
    assert found.keepalives == KeepAlives(
        idle_seconds=9, interval_seconds=3, count=4, user_timeout_ms=5000
    )
    assert found.target_session_attrs == "primary"
    assert parameters("ssl=true").sslmode == "require"
    assert parameters("sslrootcert=system").sslmode == "verify-full"
    assert parameters("keepalives=0").keepalives == KeepAlives(enabled=False)
    # Zero and less stand for the system's own values, an empty value for none.
    assert parameters("connect_timeout=0&keepalives_idle=0&sslmode=") == parse_postgres_url(BASE)
    assert parameters("fallback_application_name=x").application_name == "x"
    assert parameters("load_balance_hosts=random&sslsni=0") == parse_postgres_url(BASE)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sslmode=require&channel_binding=require", "channel_binding=require.*sslmode=verify-full"),
        (
            "sslmode=always",
            "one of disable, allow, prefer, require, verify-ca, verify-full as sslm",
        ),
        ("sslmode=require&sslrootcert=system", "sslrootcert=system, which needs sslmode=verify-f"),
        ("sslnegotiation=direct", "sslnegotiation=direct, which needs sslmode=require or more"),
        ("gssencmode=require", "gssencmode=require"),
        ("target_session_attrs=standby", "target_session_attrs=standby, and the service has to wr"),
        ("target_session_attrs=best", "must have one of any, read-write"),
        ("hostaddr=1.2.3.4", "has hostaddr, .*: name the address as the host"),
        ("service=x", "has service, .*: write into the URL what the service file says"),
        ("connect_timeout=soon", "a whole number as connect_timeout"),
        ("keepalives_idle=1e99", "a whole number as keepalives_idle"),
        ("port=0", "must be of the form"),
        ("port=1,2", "as many ports as hosts"),
        ("pgbouncer=true", "the parameter pgbouncer, which is another library's: leave it out"),
        ("statement_timeout=5", "options=-c%20NAME=VALUE"),
        ("geheim=1", "a parameter that libpq does not know, number 1"),
        ("sslmode=prefer&geheim", "a parameter that libpq does not know, number 2"),
        ("client_encoding=latin1", "client_encoding other than UTF8"),
        ("application_name=%zz", "must be of the form"),
        ("application_name=%ff", "must be of the form"),
        ("application_name=%00", "must be of the form"),
        ("user=a@b", "must be of the form.*@ as %40"),
    ],
)
def test_what_can_not_be_used_is_one_clear_line(text: str, says: str) -> None:
    with pytest.raises(UrlError, match=says) as caught:
        parameters(text)
    message = str(caught.value)
    assert "\n" not in message
    assert "geheim" not in message
    with pytest.raises(Exception, match="DATABASE_URL"):
        load_settings({"DATABASE_URL": f"{BASE}?{text}"})


def test_a_table_that_is_only_read_may_be_on_a_standby() -> None:
    url = f"{BASE}?target_session_attrs=standby"
    assert parse_postgres_url(url, writes=False).target_session_attrs == "standby"
    assert load_settings({"PROVER_INDEXER_URL": url}).indexer_url == url


def test_public_names_are_made_from_parts() -> None:
    def name(url: str) -> str:
        return parse_postgres_url(url).public

    assert name("postgres://me:pw@host/db?sslmode=require") == "db on host"
    assert name("postgres://me:pw@a:1,[::1]:2/db") == "db on a:1,[::1]:2"
    assert name("postgres:///db?host=/run/pg") == "db on /run/pg"
    assert name("postgres:///db") == "db"


# A password may hold all that there is, with what has a meaning in URLs more often than not.
PASSWORDS = st.text(
    st.one_of(st.sampled_from("@/:?#&=%[],+ '\"\\"), st.sampled_from(string.ascii_letters)),
    min_size=4,
    max_size=20,
).map(lambda text: f"geheim{text}geheim")


def pieces(password: str) -> list[str]:
    """The parts of a password that signs of URLs could cut out of it."""
    for sign in "@/:?#&=%[],+ '\"\\":
        password = password.replace(sign, " ")
    return [piece for piece in password.split() if len(piece) >= 4]


def said_of(url: str) -> str:
    """All that is said of a database's URL, whether it can be used or not."""
    said = []
    try:
        settings = load_settings({"DATABASE_URL": url, "PROVER_INDEXER_URL": url})
    except Exception as error:
        said.append(str(error))
    else:
        said.append(repr(settings))
    try:
        parsed = parse_postgres_url(url)
        said += [parsed.public, repr(parsed), Database(url).name]
    except Exception as error:
        said.append(str(error))
    return "\n".join(said)


def escape(password: str) -> str:
    return quote(password, safe="")


# As it has to be written, and as it stands.
WRITTEN = st.sampled_from([escape, str])


@given(PASSWORDS, WRITTEN, st.sampled_from(["", "?sslmode=require", "?user=x"]))
def test_no_password_is_ever_said_of_a_database(
    password: str, write: Callable[[str], str], query: str
) -> None:
    written = write(password)
    for url in (
        f"postgres://me:{written}@host:5432/db{query}",
        f"postgres://me:{written}@host:5432,other/db{query}",
        f"postgres://host/db?password={written}",
        f"postgres://host/db?sslpassword={written}&sslmode=require",
    ):
        said = said_of(url)
        assert not [piece for piece in pieces(password) if piece in said], said
        if write is escape:
            parsed = parse_postgres_url(url)
            assert password in (parsed.password, parsed.ssl.get("sslpassword"))
            said = parsed.redacted(f"the server says {password} is wrong")
            assert said == "the server says *** is wrong"


@given(PASSWORDS, WRITTEN)
def test_no_password_is_ever_said_of_a_node_or_a_queue(
    password: str, write: Callable[[str], str]
) -> None:
    written = write(password)
    for url in (f"https://me:{written}@host:8545/v3/x", f"https://host/{written}?key={written}"):
        said = []
        try:
            said.append(public_http_name(parse_http_url(url)))
        except UrlError as error:
            said.append(str(error))
        for variable, text in (
            ("PROVER_RPC_URL", url),
            ("SQS_QUEUE_URL", url),
            ("PROVER_QUEUE_URLS", f"slow={url}"),
        ):
            try:
                said.append(repr(load_settings({variable: text})))
            except Exception as error:
                said.append(str(error))
        text = "\n".join(said)
        assert not [piece for piece in pieces(password) if piece in text], text


def test_hosts_of_nodes_and_queues_are_told() -> None:
    assert public_http_name(parse_http_url("https://u:p@Node.example:8545/key?k=v")) == (
        "node.example:8545"
    )
    assert public_http_name(parse_http_url("http://[::1]:1/")) == "[::1]:1"
    for url in ("", "node", "ftp://node", "http://", "http://[", "http:///p", "http://h:0/"):
        with pytest.raises(UrlError, match="must begin with https"):
            parse_http_url(url)
    assert "queue" not in repr(Settings(sqs_queue_url="https://queue/q"))
