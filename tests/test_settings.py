"""Settings come from the environment and a ``.env`` file; a wrong one is named in one line."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prover_framework.errors import SettingsError
from prover_framework.settings import Settings, described_settings, load_settings

# For each setting: a value as it is written, as it is read, and a value that is wrong with the
# rule that it breaks. Settings that take any text have no wrong value.
EXAMPLES: dict[str, tuple[str, object, str | None, str]] = {
    "DATABASE_URL": ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db", "mysql://h/d", "must begin wi"),
    "SQS_QUEUE_URL": ("https://sqs/q", "https://sqs/q", "sqs/q", "must begin with https"),
    "PROVER_QUEUE_URLS": (
        "slow=https://sqs/s, big=https://sqs/b",
        (("slow", "https://sqs/s"), ("big", "https://sqs/b")),
        "slow",
        "must be NAME=URL, with commas between them",
    ),
    "PROVER_OTHER_SENDERS": ("true", True, "some", "must be true or false"),
    "PROVER_URL": ("https://p.example", "https://p.example", "p.example", "must begin with https"),
    "PROVER_API_KEY": (
        "key-1",
        "key-1",
        "key 1",
        "must be 1 to 512 printable characters of ASCII without blanks",
    ),
    "PROVER_RETENTION_DAYS": ("90", 90.0, "0", "must be >= 1"),
    "PROVER_MAX_OPEN_JOBS": ("1000", 1000, "0", "must be >= 1"),
    "PROVER_MAX_DATABASE_MB": ("2048", 2048, "0", "must be >= 1"),
    "PROVER_MIN_FREE_DISK_MB": ("0", 0, "-1", "must be >= 0"),
    "PROVER_DATA_DIR": ("/tmp/data", Path("/tmp/data"), None, ""),
    "PROVER_WORK_DIR": ("/tmp/kept", Path("/tmp/kept"), None, ""),
    "PROVER_HOST": ("0.0.0.0", "0.0.0.0", None, ""),
    "PROVER_ALLOWED_HOSTS": (
        "prover.example, [fd00::1]:8443",
        ("prover.example", "[fd00::1]:8443"),
        "https://prover.example",
        "must be NAME or NAME:PORT, with an IPv6 address in brackets",
    ),
    "PROVER_OPEN": ("true", True, "perhaps", "must be true or false"),
    "PROVER_MAX_CONNECTIONS": ("50", 50, "0", "must be >= 1"),
    "PROVER_PAGES": ("Read", "read", "some", "must be in ('off', 'read', 'on')"),
    "PROVER_PORT": ("8080", 8080, "65536", "must be <= 65535"),
    "PROVER_WORKER_RESOURCES": (
        "gpu=1, memory_mb=16000",
        {"gpu": 1, "memory_mb": 16000},
        "gpu",
        "must be names with amounts, each once, such as gpu=1,memory_mb=16000",
    ),
    "PROVER_WORKER_SLOTS": ("7", 7, "0", "must be >= 1"),
    "PROVER_SEAL_SLOTS": ("3", 3, "-1", "must be >= 0"),
    "PROVER_LEASE_SECONDS": ("2.5", 2.5, "0.5", "must be >= 1"),
    "PROVER_MAX_ATTEMPTS": ("4", 4, "0", "must be >= 1"),
    "PROVER_MAX_LOSSES": ("5", 5, "1001", "must be <= 1000"),
    "PROVER_RETRY_SECONDS": ("0.25", 0.25, "0", "must be > 0"),
    "PROVER_DATA_POLL_SECONDS": ("9", 9.0, "-1", "must be > 0"),
    "PROVER_DATA_DEADLINE_SECONDS": ("8", 8.0, "1e300", "must be <= 315360000"),
    "PROVER_SWEEP_SECONDS": ("7", 7.0, "0.0", "must be > 0"),
    "PROVER_STOP_SECONDS": ("0", 0.0, "-0.1", "must be >= 0"),
    "PROVER_COMPUTE_SECONDS": ("60", 60.0, "0", "must be > 0"),
    "PROVER_COMPUTE_MEMORY_MB": ("512", 512, "63", "must be >= 64"),
    "PROVER_ATTACHMENTS_MB": ("1000", 1000, "-1", "must be >= 0"),
    "PROVER_RPC_URL": (
        "https://node/v3/key",
        "https://node/v3/key",
        "node",
        "must begin with https",
    ),
    "PROVER_RPC_BATCH": ("100", 100, "1001", "must be <= 1000"),
    "PROVER_RPC_REQUESTS_PER_SECOND": ("2.5", 2.5, "0", "must be > 0"),
    "PROVER_RPC_RETRY_SECONDS": ("0.5", 0.5, "0", "must be > 0"),
    "PROVER_INDEXER_URL": (
        "postgres://reader@db/chain",
        "postgres://reader@db/chain",
        "mysql://reader@db/chain",
        "must begin with postgres://",
    ),
    "PROVER_CHAIN_RULES": ("/tmp/rules.json", Path("/tmp/rules.json"), None, ""),
    "PROVER_FOLLOW_SECONDS": ("1", 1.0, "0", "must be > 0"),
    "PROVER_MAX_HEADERS_LAG_SECONDS": ("3600", 3600.0, None, "soon"),
    "PROVER_MONITORING_PORT": ("9100", 9100, None, "many"),
    "PROVER_MONITORING_HOST": ("10.0.0.1", "10.0.0.1", None, ""),
    "PROVER_KEY_DIR": ("/tmp/keys", Path("/tmp/keys"), None, ""),
    "PROVER_REQUIRE_SIGNATURE": ("yes", True, "maybe", "must be true or false"),
    "PROVER_TRUSTED_KEYS": ("ab, cd.json", ("ab", "cd.json"), None, ""),
    "PROVER_TRUSTED_HASH": (
        "0x" + "AB" * 32,
        "0x" + "ab" * 32,
        "0xab",
        "must be 0x and 64 hex digits",
    ),
    "PROVER_VERIFY_HEADERS": ("node", "node", None, ""),
    "PROVER_VERIFY_PROCESSES": ("2", 2, "0", "must be >= 1"),
    "PROVER_VERIFY_SECONDS": ("20", 20.0, "0.5", "must be >= 1"),
    "PROVER_PLUGINS": ("twap, max_return", ("twap", "max_return"), None, ""),
    "PROVER_PLUGINS_DISABLED": ("twap,", ("twap",), None, ""),
    "PROVER_REQUIRED": ("twap, gas", ("twap", "gas"), None, ""),
    "PROVER_PLUGINS_STRICT": ("Yes", True, "maybe", "must be true or false"),
    "PROVER_PLUGIN_TRACE": ("Yes", True, "maybe", "must be true or false"),
    "PROVER_LOG_LEVEL": (
        "debug",
        "DEBUG",
        "loud",
        "must be in ('DEBUG', 'INFO', 'WARNING', 'ERROR')",
    ),
    "PROVER_LOG_FORMAT": ("JSON", "json", "xml", "must be in ('text', 'json')"),
    "PROVER_ACCESS_LOG": ("no", False, "maybe", "must be true or false"),
    "PROVER_TRACING": ("yes", True, "maybe", "must be true or false"),
}

VARIABLES: dict[str, str] = {
    field.metadata["variable"]: field.name for field in described_settings()
}
NUMBERS = [variable for variable, example in EXAMPLES.items() if type(example[1]) in (int, float)]


def read(variable: str, text: str, dotenv: Path | None = None) -> Any:
    return getattr(load_settings({variable: text}, dotenv), VARIABLES[variable])


def complaint(environment: dict[str, str], dotenv: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environment, dotenv)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_setting_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(VARIABLES)


def test_without_any_variable_the_defaults_hold() -> None:
    assert load_settings({}) == Settings()
    defaults = Settings()
    assert (defaults.host, defaults.port) == ("127.0.0.1", 3000)
    assert (defaults.database_url, defaults.sqs_queue_url) == (None, None)
    assert defaults.worker_slots >= 1
    assert defaults.sqlite_path == Path("prover-data/prover.sqlite3")


def test_every_default_obeys_its_own_rule() -> None:
    for field in described_settings():
        if field.validator is not None:
            field.validator(None, field, field.default)


@pytest.mark.parametrize("variable", VARIABLES)
def test_every_setting_is_read_from_both_places_and_the_environment_wins(
    tmp_path: Path, variable: str
) -> None:
    text, value, _, _ = EXAMPLES[variable]
    dotenv = tmp_path / ".env"
    name = VARIABLES[variable]
    assert read(variable, text) == value
    dotenv.write_text(f"# a comment\n{variable}='{text}'\n", "utf-8")
    assert getattr(load_settings({}, dotenv), name) == value
    dotenv.write_text(f"{variable}=nonsense that must not be looked at\n", "utf-8")
    if text:
        assert read(variable, text, dotenv) == value


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_empty_value_counts_as_unset(tmp_path: Path, variable: str) -> None:
    text, value, _, _ = EXAMPLES[variable]
    dotenv = tmp_path / ".env"
    assert load_settings({variable: ""}) == Settings()
    dotenv.write_text(f"{variable}=\n", "utf-8")
    assert load_settings({}, dotenv) == Settings()
    dotenv.write_text(f"{variable}\n", "utf-8")
    assert load_settings({}, dotenv) == Settings()
    # What is unset in the environment is taken from the file.
    dotenv.write_text(f"{variable}={text}\n", "utf-8")
    assert read(variable, "", dotenv) == value


@pytest.mark.parametrize(
    "variable", [variable for variable, example in EXAMPLES.items() if example[2] is not None]
)
def test_a_wrong_value_is_told_with_variable_and_rule(tmp_path: Path, variable: str) -> None:
    _, _, wrong, rule = EXAMPLES[variable]
    assert wrong is not None
    message = complaint({variable: wrong})
    assert message.startswith(f"{variable} {rule}")
    if not variable.endswith(("_URL", "_URLS", "_KEY")):
        assert message == f"{variable} {rule}, got '{wrong}'"
    dotenv = tmp_path / ".env"
    dotenv.write_text(f"{variable}={wrong}\n", "utf-8")
    assert complaint({}, dotenv) == message


@pytest.mark.parametrize("variable", NUMBERS)
@pytest.mark.parametrize(
    "text",
    ["many", "1,5", "nan", "inf", "-inf", "1e999", "0x10", "1 2", " ", "\n", "1\n2", "9" * 5000],
)
def test_a_number_that_is_none_is_told_in_one_short_line(variable: str, text: str) -> None:
    message = complaint({variable: text})
    assert message.startswith(f"{variable} must be ")
    assert len(message) < 150


@pytest.mark.parametrize("text", ["ja", "2", "on", "TRUE!", " "])
def test_a_flag_is_a_word_for_true_or_false(text: str) -> None:
    assert complaint({"PROVER_PLUGINS_STRICT": text}).startswith("PROVER_PLUGINS_STRICT must be t")
    for word, value in (("true", True), ("1", True), ("NO", False), ("false", False), ("0", False)):
        assert read("PROVER_PLUGINS_STRICT", word) is value


def test_a_password_is_never_repeated() -> None:
    for url in ("postgres://me:secret@host", "secret", "sqlite://secret"):
        assert "secret" not in complaint({"DATABASE_URL": url})
    for url in ("sqlite:///secret", "postgres://me:secret@host/db"):
        assert "secret" not in repr(load_settings({"DATABASE_URL": url}))


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me:very-secret@host:5432/db",
        "postgresql://me:p%40ss@host/db?sslmode=require",
        "postgres:///db?host=/run/postgresql",
        "postgres://me@[::1]:5432/db",
    ],
)
def test_a_url_of_postgresql_names_a_database(url: str) -> None:
    assert read("DATABASE_URL", url) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me:secret@host",
        "postgres://me:secret@host/",
        "postgres://me:secret@host:port/db",
        "postgres://me:secret@host:70000/db",
        "postgres://me:se/cret@host/db",
        "postgres://me:secret@[::1/db",
    ],
)
def test_a_url_of_postgresql_that_is_none_is_told_without_it(url: str) -> None:
    message = complaint({"DATABASE_URL": url})
    assert message.startswith("DATABASE_URL must be of the form postgres://USER:PASSWORD@HOST:P")
    assert "cret" not in message


def test_a_url_of_sqlite_names_a_file() -> None:
    assert complaint({"DATABASE_URL": "sqlite:///"}).startswith("DATABASE_URL must name a file")


def test_values_of_a_file_are_taken_as_they_stand(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(
        b"\xef\xbb\xbfPROVER_PORT=1\r\n"
        b"export PROVER_HOST=host # comment\r\n"
        b'PROVER_DATA_DIR="${HOME}/a b"\n'
        b"PROVER_LOG_LEVEL=$PROVER_PORT\n"
        b"PROVER_LOG_LEVEL=error\n"
        b"PROVER_NOT_A_SETTING=1\n"
        b"OTHER=1\n"
    )
    settings = load_settings({}, dotenv)
    assert settings.port == 1
    assert settings.host == "host"
    assert settings.data_dir == Path("${HOME}/a b")
    assert settings.log_level == "ERROR"


def test_a_file_that_is_not_there_is_no_error_and_one_that_is_no_text_is(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    assert load_settings({}, dotenv) == Settings()
    assert load_settings({}, tmp_path) == Settings()
    dotenv.write_bytes(b"PROVER_HOST=\xff\n")
    assert complaint({}, dotenv) == f"the settings in {dotenv} cannot be read: it is not UTF-8"
    dotenv.unlink()
    dotenv.symlink_to(dotenv)
    assert complaint({}, dotenv).startswith(f"the settings in {dotenv} cannot be read: Too many")


def test_variables_that_are_no_settings_are_left_alone() -> None:
    assert load_settings({"PROVER_PROT": "1", "PROVER_": "x", "HOME": "/", "prover_port": "x"}) == (
        Settings()
    )


# The real command


def prover(
    directory: Path, *arguments: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    environment = {name: text for name, text in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [Path(sys.executable).with_name("prover"), *arguments],
        cwd=directory,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "variable", "wrong", "line"),
    [
        ("up", "PROVER_PORT", "many", "PROVER_PORT must be a whole number, got 'many'"),
        ("api", "PROVER_LEASE_SECONDS", "-1", "PROVER_LEASE_SECONDS must be >= 1, got '-1'"),
        ("worker", "PROVER_LOG_LEVEL", "loud\n", "PROVER_LOG_LEVEL must be in ('DEBUG', 'INFO', "),
        ("plugins", "PROVER_PLUGINS", "nope", "PROVER_PLUGINS or PROVER_PLUGINS_DISABLED names pl"),
        ("migrate", "DATABASE_URL", "mysql://a:b@c/d", "DATABASE_URL must begin with sqlite:///"),
    ],
)
def test_the_command_stops_with_one_line(
    tmp_path: Path, command: str, variable: str, wrong: str, line: str
) -> None:
    ended = prover(tmp_path, command, **{variable: wrong})
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.startswith(f"prover: {line}")
    assert list(tmp_path.iterdir()) == []


def test_the_command_reads_the_file_of_its_directory(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PROVER_PORT=many\n", "utf-8")
    ended = prover(tmp_path, "worker")
    assert ended.returncode == 1
    assert ended.stderr == "prover: PROVER_PORT must be a whole number, got 'many'\n"


def test_further_queues_need_a_default_one() -> None:
    further = {"PROVER_QUEUE_URLS": "slow=https://sqs/s"}
    assert load_settings(further | {"SQS_QUEUE_URL": "https://sqs/q"}).queue_urls == {
        "default": "https://sqs/q",
        "slow": "https://sqs/s",
    }
    with pytest.raises(SettingsError, match="PROVER_QUEUE_URLS needs SQS_QUEUE_URL"):
        _ = load_settings(further).queue_urls
    assert load_settings({}).queue_urls == {}


def test_an_operator_can_require_no_proof_type() -> None:
    assert load_settings({"PROVER_REQUIRED": "none"}).required == ()
    assert load_settings({"PROVER_REQUIRED": ""}).required is None
