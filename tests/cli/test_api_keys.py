"""``prover key api`` and ``--namespace``: keys and the groups of their namespaces."""

import json
import subprocess
from collections.abc import Callable

import pytest

Prover = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hours(prover: Prover) -> Prover:
    prover("headers", "simulate", "--days", "1", "--end", "1704067200")
    return prover


def test_a_key_is_shown_once_and_alone_on_standard_output(prover: Prover) -> None:
    done = prover("key", "api", "create", "pricing", "--scope", "submit", "--expires", "90d")
    assert done.returncode == 0
    prefix, key_id, secret = done.stdout.strip().split("_")
    assert (prefix, len(secret), done.stdout.count("\n")) == ("prover", 64, 1)
    assert f"API key {key_id} for pricing: submit, namespace default, expires " in done.stderr
    assert secret not in done.stderr
    (listed,) = json.loads(prover("key", "api", "list", "--json").stdout)
    assert (listed["id"], listed["state"], listed["scopes"]) == (key_id, "active", ["submit"])
    assert secret not in json.dumps(listed)
    assert "pricing" in prover("key", "api", "list").stdout


def test_a_key_is_for_all_but_operating_and_within_limits_unless_told(prover: Prover) -> None:
    made = json.loads(prover("key", "api", "create", "usual", "--json").stdout)
    assert made["scopes"] == ["submit", "read", "verify"]
    assert made["expires_at"] is None
    assert 0 < made["open_groups"] < made["requests_per_minute"]
    assert made["key"].startswith(f"prover_{made['id']}_")


def test_a_key_is_revoked_by_its_id_and_stays_in_the_list(prover: Prover) -> None:
    made = json.loads(prover("key", "api", "create", "pricing", "--json").stdout)
    done = prover("key", "api", "revoke", made["id"])
    assert done.stdout == f"{made['id']} (pricing) is revoked; services refuse it within 2 s\n"
    assert [one["state"] for one in json.loads(prover("key", "api", "list", "--json").stdout)] == [
        "revoked"
    ]
    unknown = prover("key", "api", "revoke", "0123")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("prover: there is no API key '0123'")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("", "--scope", "read"), "must be 1 to 80 printable characters"),
        (("x" * 81,), "must be 1 to 80 printable characters"),
        (("a", "--scope", "admin"), "'admin' is not one of"),
        (("a", "--namespace", "Team/A"), "'Team/A' is not 1 to 32 lower-case letters"),
        (("a", "--expires", "soon"), "'soon' is not a time such as 90d"),
        (("a", "--expires", "0d"), "'0d' is not a time such as 90d"),
        (("a", "--expires", "999999999d"), "a hundred years at the most"),
        (("a", "--open-groups", "0"), "0 is not in the range"),
    ],
)
def test_what_cannot_be_a_key_is_told_and_none_is_made(
    prover: Prover, arguments: tuple[str, ...], told: str
) -> None:
    done = prover("key", "api", "create", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert json.loads(prover("key", "api", "list", "--json").stdout) == []


def test_commands_are_about_the_namespace_that_they_name(hours: Prover) -> None:
    span = "--range", "2023-12-31..2024-01-01"
    submit = ("submit", "--id", "g", *span, "--namespace", "team-a", "--json")
    assert json.loads(hours(*submit).stdout)["namespace"] == "team-a"
    own = ("--namespace", "team-a")
    missing = hours("status", "g")
    assert (missing.returncode, missing.stderr) == (1, "prover: there is no job group 'g'\n")
    assert json.loads(hours("status", "g", *own, "--json").stdout)["job_group_id"] == "g"
    assert "g (namespace team-a)" in hours("list").stdout
    assert json.loads(hours("list", "--namespace", "default", "--json").stdout)["groups"] == []
    assert hours("cancel", "g").returncode == 1
    assert json.loads(hours("cancel", "g", *own, "--json").stdout)["status"] == "cancelled"
    assert hours("redrive", "g", *own, "--json").returncode == 0
    assert "not ended" in hours("receipt", "g", *own).stderr
    assert hours("verify", "g").stderr == "prover: there is no job group 'g'\n"
    assert "is not 1 to 32" in hours("status", "g", "--namespace", "A/b").stderr
    assert hours("status", "team-a/g").returncode == 1
