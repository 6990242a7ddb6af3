"""Settings, from the environment and a ``.env`` file; the environment wins."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
from attrs import frozen
from attrs.validators import ge, gt, in_, le, optional
from dotenv import dotenv_values

from prover_framework.errors import SettingsError
from prover_framework.jsontext import quote
from prover_framework.model import DEFAULT_QUEUE, Limits

T = TypeVar("T")

# Ten years: longer than anybody waits, short enough for the milliseconds of every clock and column.
MAX_SECONDS = 315_360_000

# One more loses nothing, and thousands of retries of one job help nobody.
MAX_TRIES = 1000

# The address space of a process on the machines we know, in MiB.
MAX_MEMORY_MB = 2**27

SQLITE_SCHEME = "sqlite:///"
POSTGRES_SCHEMES = ("postgres://", "postgresql://")

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def _setting(
    variable: str,
    description: str,
    read: Callable[[str], T],
    default: T,
    validator: Any = None,
    *,
    secret: bool = False,
) -> T:
    value: T = attrs.field(
        default=default,
        validator=validator,
        repr=not secret,
        metadata={"variable": variable, "description": description, "read": read},
    )
    return value


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("must be a whole number") from None


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("must be a number")
    return number


def _flag(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    try:
        return words[text.lower()]
    except KeyError:
        raise ValueError("must be true or false") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise ValueError("must be a URL that begins with https:// or http://")
    return text


def _database_url(text: str) -> str:
    if text.startswith(SQLITE_SCHEME):
        if text == SQLITE_SCHEME:
            raise ValueError("must name a file after sqlite:///")
        return text
    if not text.startswith(POSTGRES_SCHEMES):
        raise ValueError(
            "must begin with sqlite:/// or postgres://; unset it for the embedded database in "
            "PROVER_DATA_DIR"
        )
    return _postgres_url(text)


def _postgres_url(text: str) -> str:
    if not text.startswith(POSTGRES_SCHEMES):
        raise ValueError("must begin with postgres://")
    try:
        parts = urlsplit(text)
        named = bool(parts.path.strip("/")) and parts.port != 0
    except ValueError:
        named = False
    if not named:
        raise ValueError(
            "must be of the form postgres://USER:PASSWORD@HOST:PORT/NAME; write special "
            "characters in a password as %XX"
        )
    return text


def _queue_urls(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [entry.partition("=") for entry in _names(text)]
    if not all(name and equals and url.startswith(("http://", "https://"))
               for name, equals, url in pairs):  # fmt: skip
        raise ValueError("must be NAME=URL, with commas between them")
    return tuple((name, url) for name, _, url in pairs)


def _upper(text: str) -> str:
    return text.upper()


@frozen(kw_only=True)
class Settings:
    """All settings of API, worker and command line; every field has a default."""

    database_url: str | None = _setting(
        "DATABASE_URL",
        "Database, postgres://USER:PASSWORD@HOST:PORT/NAME or sqlite:///FILE; unset means the "
        "embedded SQLite database in the data directory.",
        _database_url,
        None,
        secret=True,
    )
    sqs_queue_url: str | None = _setting(
        "SQS_QUEUE_URL",
        "Queue on SQS; unset means the embedded queue, a table in the same database.",
        _url,
        None,
    )
    further_queue_urls: tuple[tuple[str, str], ...] = _setting(
        "PROVER_QUEUE_URLS",
        "Further queues on SQS by the names that plugins choose: NAME=URL, with commas.",
        _queue_urls,
        (),
    )
    data_dir: Path = _setting(
        "PROVER_DATA_DIR",
        "Directory of the embedded database.",
        Path,
        Path("prover-data"),
    )
    host: str = _setting("PROVER_HOST", "Address that the API listens on.", str, "127.0.0.1")
    port: int = _setting(
        "PROVER_PORT", "Port that the API listens on; 0 takes a free one.", _integer, 3000,
        [ge(0), le(65535)],
    )  # fmt: skip
    worker_slots: int = _setting(
        "PROVER_WORKER_SLOTS",
        "How many jobs a worker computes at a time; each slot is a process. "
        "Default: the number of cores.",
        _integer,
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        [ge(1), le(256)],
    )
    lease_seconds: float = _setting(
        "PROVER_LEASE_SECONDS",
        "How long a worker holds a job without a sign of life. "
        "A killed worker's jobs are taken over after this time.",
        _number,
        30.0,
        [ge(1), le(3600)],
    )
    max_attempts: int = _setting(
        "PROVER_MAX_ATTEMPTS",
        "How many failed computations a job may have before it fails.",
        _integer,
        3,
        [ge(1), le(MAX_TRIES)],
    )
    max_losses: int = _setting(
        "PROVER_MAX_LOSSES",
        "How many workers a job may lose (crash, kill) before it fails.",
        _integer,
        10,
        [ge(1), le(MAX_TRIES)],
    )
    retry_seconds: float = _setting(
        "PROVER_RETRY_SECONDS",
        "Wait before the first retry; it doubles with each further one, with jitter.",
        _number,
        2.0,
        [gt(0), le(MAX_SECONDS)],
    )
    data_poll_seconds: float = _setting(
        "PROVER_DATA_POLL_SECONDS",
        "How often a job that waits for headers looks again.",
        _number,
        30.0,
        [gt(0), le(MAX_SECONDS)],
    )
    data_deadline_seconds: float = _setting(
        "PROVER_DATA_DEADLINE_SECONDS",
        "How long a job waits for headers before it fails.",
        _number,
        86400.0,
        [gt(0), le(MAX_SECONDS)],
    )
    sweep_seconds: float = _setting(
        "PROVER_SWEEP_SECONDS",
        "How often a worker looks for jobs whose message or worker is lost.",
        _number,
        2.0,
        [gt(0), le(MAX_SECONDS)],
    )
    stop_seconds: float = _setting(
        "PROVER_STOP_SECONDS",
        "How long a stopping worker lets running jobs finish before it gives them back.",
        _number,
        20.0,
        [ge(0), le(MAX_SECONDS)],
    )
    compute_seconds: float | None = _setting(
        "PROVER_COMPUTE_SECONDS",
        "Time limit of one computation; unset means the proof type's own.",
        _number,
        None,
        optional([gt(0), le(MAX_SECONDS)]),
    )
    compute_memory_mb: int | None = _setting(
        "PROVER_COMPUTE_MEMORY_MB",
        "Memory limit of one computation in MiB; unset means the proof type's own.",
        _integer,
        None,
        optional([ge(64), le(MAX_MEMORY_MB)]),
    )
    rpc_url: str | None = _setting(
        "PROVER_RPC_URL",
        "JSON-RPC endpoint of an Ethereum node that headers are fetched from.",
        _url,
        None,
        secret=True,
    )
    rpc_batch: int = _setting(
        "PROVER_RPC_BATCH",
        "How many blocks a request to the node asks for.",
        _integer,
        50,
        [ge(1), le(1000)],
    )
    rpc_requests_per_second: float = _setting(
        "PROVER_RPC_REQUESTS_PER_SECOND",
        "How many requests a second the node gets, at most.",
        _number,
        10.0,
        [gt(0), le(10_000)],
    )
    indexer_url: str | None = _setting(
        "PROVER_INDEXER_URL",
        "PostgreSQL database of an indexer, whose table `blockheaders` headers are read from.",
        _postgres_url,
        None,
        secret=True,
    )
    follow_seconds: float = _setting(
        "PROVER_FOLLOW_SECONDS",
        "How often `prover headers sync --follow` looks for new blocks.",
        _number,
        12.0,
        [gt(0), le(MAX_SECONDS)],
    )
    key_dir: Path | None = _setting(
        "PROVER_KEY_DIR",
        "Directory of the keys that sign receipts; unset means keys in the data directory.",
        Path,
        None,
    )
    trusted_keys: tuple[str, ...] = _setting(
        "PROVER_TRUSTED_KEYS",
        "Public keys that a signature counts under when a receipt is verified: 64 hex digits or "
        "a file, with commas.",
        _names,
        (),
    )
    plugins: tuple[str, ...] | None = _setting(
        "PROVER_PLUGINS",
        "Names of the plugins to load, with commas; unset means all that are installed.",
        _names,
        None,
    )
    plugins_disabled: tuple[str, ...] = _setting(
        "PROVER_PLUGINS_DISABLED", "Names of plugins not to load, with commas.", _names, ()
    )
    plugins_strict: bool = _setting(
        "PROVER_PLUGINS_STRICT",
        "Refuse to start when a plugin cannot be used.",
        _flag,
        False,  # noqa: FBT003 - the default's place is the same for all settings
    )
    plugin_trace: bool = _setting(
        "PROVER_PLUGIN_TRACE",
        "Log each call of a plugin's hook, with its time and outcome.",
        _flag,
        False,  # noqa: FBT003 - as above
    )
    log_level: str = _setting(
        "PROVER_LOG_LEVEL",
        f"One of {', '.join(LOG_LEVELS)}.",
        _upper,
        "INFO",
        in_(LOG_LEVELS),
    )

    @property
    def queue_urls(self) -> dict[str, str]:
        """URLs of the queues on SQS by name; empty for the embedded queue.

        Raises:
            SettingsError: There are further queues and no default one.
        """
        if self.sqs_queue_url is None:
            if self.further_queue_urls:
                raise SettingsError(
                    "PROVER_QUEUE_URLS needs SQS_QUEUE_URL, the URL of the default queue; "
                    "without SQS every name has a queue already"
                )
            return {}
        return {**dict(self.further_queue_urls), DEFAULT_QUEUE: self.sqs_queue_url}

    def require_queue(self, name: str) -> None:
        """Require that there is a queue of a name; without SQS every name has one.

        Raises:
            SettingsError: There is none.
        """
        urls = self.queue_urls
        if urls and name not in urls:
            known = ", ".join(sorted(urls))
            raise SettingsError(
                f"queue {name!r} has no URL (known: {known}); PROVER_QUEUE_URLS gives it one"
            )

    def limits(self, own: Limits) -> Limits:
        """Return what one computation may use: what is set here, or what the plugin asks for."""
        memory = self.compute_memory_mb
        return Limits(
            seconds=self.compute_seconds or own.seconds,
            memory_bytes=own.memory_bytes if memory is None else memory * 2**20,
        )

    @property
    def key_path(self) -> Path:
        """Where the keys that sign receipts are."""
        return self.key_dir or self.data_dir / "keys"

    @property
    def sqlite_path(self) -> Path:
        """Where the embedded database is."""
        return self.data_dir / "prover.sqlite3"


def load_settings(environment: Mapping[str, str], dotenv_file: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: Usually ``os.environ``. An empty value counts as unset.
        dotenv_file: A file of further variables; one that does not exist is no error.

    Raises:
        SettingsError: A setting is wrong; the message names the variable and its rule.
    """
    variables: dict[str, str | None] = _dotenv(dotenv_file) if dotenv_file else {}
    variables.update({name: text for name, text in environment.items() if text})
    values: dict[str, object] = {}
    for field in attrs.fields(Settings):
        text = variables.get(field.metadata["variable"])
        if text:
            values[field.name] = _read(field, text)
    return Settings(**values)  # type: ignore[arg-type]


def aws_variables(dotenv_file: Path) -> dict[str, str]:
    """Return the AWS variables of a ``.env`` file: AWS's library reads the environment only."""
    found = _dotenv(dotenv_file).items()
    return {name: text for name, text in found if name.startswith("AWS_") and text}


def _dotenv(file: Path) -> dict[str, str | None]:
    if not file.is_file():
        return {}
    try:
        # Some editors begin a file with a byte order mark.
        return dotenv_values(file, interpolate=False, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"the settings in {file} can not be read: {reason}") from None


def _read(field: "attrs.Attribute[Any]", text: str) -> object:
    variable = field.metadata["variable"]
    # The value of a setting that may hold a password is not repeated.
    shown = f", got {quote(text)}" if field.repr else ""
    try:
        value = field.metadata["read"](text)
    except ValueError as error:
        raise SettingsError(f"{variable} {error}{shown}") from None
    try:
        if field.validator is not None:
            field.validator(None, field, value)
    except ValueError as error:
        # The validators of attrs begin with the field's name and end with the value.
        rule = str(error.args[0]).removeprefix(f"'{field.name}' ")
        rule = rule.partition(":")[0].partition(" (got")[0]
        raise SettingsError(f"{variable} {rule}{shown}") from None
    return value
