"""Settings, from the environment and a ``.env`` file; the environment wins."""

import math
import re
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
from attrs import frozen
from attrs.validators import ge, gt, in_, le, optional
from dotenv import dotenv_values

from prover_framework.errors import RequestError, SettingsError
from prover_framework.hosts import read_authority
from prover_framework.logs import LogForm
from prover_framework.model.limits import Limits
from prover_framework.model.names import DEFAULT_QUEUE
from prover_framework.model.receipts import BLOCK_HASH
from prover_framework.model.resources import Resources, require_resources
from prover_framework.processors import usable_processors
from prover_framework.serialization.converter import class_form, structure
from prover_framework.serialization.forms import TextForm
from prover_framework.serialization.json_text import Json, parse_json
from prover_framework.text import names_in, quote
from prover_framework.urls import POSTGRES_SCHEMES, parse_http_url, parse_postgres_url

T = TypeVar("T")

# Ten years: longer than anybody waits, short enough for the milliseconds of every clock and column.
MAX_SECONDS = 315_360_000

# One more loses nothing, and thousands of retries of one job help nobody.
MAX_TRIES = 1000

# More than the descriptors that one process is allowed.
MAX_CONNECTIONS = 50_000

# The address space of a process on the machines we know, in MiB.
MAX_MEMORY_MB = 2**27

SQLITE_SCHEME = "sqlite:///"

# What `Settings.verify_headers` is for the node of the settings.
VERIFY_WITH_NODE = "node"

# Settings of a plugin's own: this, its name, two underscores and the name of a field.
PLUGIN_PREFIX = "PROVER_PLUGIN__"

# The name of a file that holds a secret stands in the variable of the secret with this at its end.
FILE_SUFFIX = "_FILE"

# Far above any password or URL; what is larger is another file.
MAX_SECRET_BYTES = 64 * 1024

# What is said of a secret that is wrong.
HIDDEN = "is not a value of this setting (what it is set to is not shown)"

# What pages there are; see `Settings.pages`.
PAGES = ("off", "read", "on")

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

LOG_FORMS = tuple(form.value for form in LogForm)


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


def _required(text: str) -> tuple[str, ...]:
    # An empty text counts as unset.
    return () if text.strip().lower() == "none" else names_in(text)


def _resources(text: str) -> Resources:
    resources: dict[str, int] = {}
    for part in text.split(","):
        name, equals, amount = (piece.strip() for piece in part.partition("="))
        if not equals or name in resources:
            raise ValueError("must be names with amounts, each once, such as gpu=1,memory_mb=16000")
        resources[name] = _integer(amount)
    require_resources(resources)
    return resources


def _hosts(text: str) -> tuple[str, ...]:
    names = names_in(text)
    for name in names:
        read_authority(name)
    return names


def _url(text: str) -> str:
    parse_http_url(text)
    return text


def _key(text: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]{1,512}", text):
        raise ValueError("must be 1 to 512 printable characters of ASCII without blanks")
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
    parse_postgres_url(text)
    return text


def _indexer_url(text: str) -> str:
    parse_postgres_url(text, writes=False)
    return text


def _queue_urls(text: str) -> tuple[tuple[str, str], ...]:
    pairs = [entry.partition("=") for entry in names_in(text)]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError("must be NAME=URL, with commas between them")
    for _, _, url in pairs:
        try:
            parse_http_url(url)
        except ValueError as error:
            raise ValueError(f"must be NAME=URL, with commas between them; a URL {error}") from None
    return tuple((name, url) for name, _, url in pairs)


def _block_hash(text: str) -> str:
    if not re.fullmatch(BLOCK_HASH, text.lower()):
        raise ValueError("must be 0x and 64 hex digits")
    return text.lower()


def _upper(text: str) -> str:
    return text.upper()


def _lower(text: str) -> str:
    return text.lower()


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
        "Queue on SQS; unset means that the table of jobs is the queue.",
        _url,
        None,
        secret=True,
    )
    further_queue_urls: tuple[tuple[str, str], ...] = _setting(
        "PROVER_QUEUE_URLS",
        "Further queues on SQS by the names that plugins choose: NAME=URL, with commas.",
        _queue_urls,
        (),
        secret=True,
    )
    other_senders: bool = _setting(
        "PROVER_OTHER_SENDERS",
        "Compute what messages of other senders ask for, which have no id of ours. Whoever may "
        "write to the queue may then have jobs computed; without this they are dead letters.",
        _flag,
        False,  # noqa: FBT003 - the default's place is the same for all settings
    )
    url: str | None = _setting(
        "PROVER_URL",
        "URL of a service that commands are for; unset means the database and queue of the "
        "settings.",
        _url,
        None,
        secret=True,
    )
    api_key: str | None = _setting(
        "PROVER_API_KEY",
        "Key that commands show to the service at PROVER_URL.",
        _key,
        None,
        secret=True,
    )
    data_dir: Path = _setting(
        "PROVER_DATA_DIR",
        "Directory of the embedded database.",
        Path,
        Path("prover-data"),
    )
    work_dir: Path | None = _setting(
        "PROVER_WORK_DIR",
        "Directory of what computations that take long keep between the attempts of a job; unset "
        "means `work` in the data directory.",
        Path,
        None,
    )
    host: str = _setting("PROVER_HOST", "Address that the API listens on.", str, "127.0.0.1")
    port: int = _setting(
        "PROVER_PORT", "Port that the API listens on; 0 takes a free one.", _integer, 3000,
        [ge(0), le(65535)],
    )  # fmt: skip
    allowed_hosts: tuple[str, ...] = _setting(
        "PROVER_ALLOWED_HOSTS",
        "Host names that the API is called by beside localhost and its address, NAME or NAME:PORT, "
        "with commas; web pages of these hosts may call it, too.",
        _hosts,
        (),
    )
    is_open: bool = _setting(
        "PROVER_OPEN",
        "Let everybody use the API who can reach it, without a key; without API keys this is "
        "needed to listen on an address that is not loopback.",
        _flag,
        False,  # noqa: FBT003 - the default's place is the same for all settings
    )
    max_open_jobs: int = _setting(
        "PROVER_MAX_OPEN_JOBS",
        "How many jobs that have not ended there may be; beyond that new groups are refused with "
        "status 503 until workers have caught up.",
        _integer,
        100_000,
        [ge(1), le(10_000_000)],
    )
    max_connections: int = _setting(
        "PROVER_MAX_CONNECTIONS",
        "How many connections the API keeps open, at most; fewer where the process may not open so "
        "many files.",
        _integer,
        1000,
        [ge(1), le(MAX_CONNECTIONS)],
    )
    pages: str = _setting(
        "PROVER_PAGES",
        f"Pages for people at the API's address, one of {', '.join(PAGES)}: none, such as only "
        "show, or such as submit, cancel and redrive, too.",
        str.lower,
        "on",
        in_(PAGES),
    )
    worker_slots: int = _setting(
        "PROVER_WORKER_SLOTS",
        "How many jobs a worker computes at a time; each slot is a process. "
        "Default: the number of processors, or what a container has of them.",
        _integer,
        usable_processors(),
        [ge(1), le(256)],
    )
    worker_resources: Resources = _setting(
        "PROVER_WORKER_RESOURCES",
        "What the machine has that some proof types need, for all of a worker's jobs together: "
        "names with amounts, such as gpu=1,memory_mb=16000. A job that needs more is left to other "
        "workers.",
        _resources,
        {},
    )
    seal_slots: int = _setting(
        "PROVER_SEAL_SLOTS",
        "How many seals of each kind a worker makes at a time, each in a process beside those of "
        "the jobs; 0 leaves them to other workers.",
        _integer,
        1,
        [ge(0), le(256)],
    )
    lease_seconds: float = _setting(
        "PROVER_LEASE_SECONDS",
        "How long a worker holds a job without a sign of life. "
        "A killed worker's jobs are taken over after this time. A call to the database has a "
        "quarter of it, ten seconds at the most.",
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
        "How long a stopping worker lets running jobs finish before it gives them back; it ends "
        "within ten seconds after that, whatever the database does.",
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
    attachments_mb: int = _setting(
        "PROVER_ATTACHMENTS_MB",
        "How many MiB the attachments of one result may have together. A plugin whose proof type "
        "asks for more is not used.",
        _integer,
        256,
        [ge(0), le(MAX_MEMORY_MB)],
    )
    retention_days: float | None = _setting(
        "PROVER_RETENTION_DAYS",
        "After how many days a worker removes groups that have ended, with their results and "
        "receipts, and events; unset means never.",
        _number,
        None,
        optional([ge(1), le(3650)]),
    )
    max_database_mb: int | None = _setting(
        "PROVER_MAX_DATABASE_MB",
        "How many MiB the database may have before further groups are refused with 507; unset "
        "means any number.",
        _integer,
        None,
        optional([ge(1), le(MAX_MEMORY_MB)]),
    )
    min_free_disk_mb: int = _setting(
        "PROVER_MIN_FREE_DISK_MB",
        "How many MiB have to be free on the disk of the embedded database; with less, further "
        "groups are refused with 507, so that what is stored can be finished.",
        _integer,
        64,
        [ge(0), le(MAX_MEMORY_MB)],
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
    rpc_retry_seconds: float = _setting(
        "PROVER_RPC_RETRY_SECONDS",
        "How long to wait before a request that the node refuses, or that nothing answers, is "
        "repeated; each further time twice as long, up to a minute.",
        _number,
        1.0,
        [gt(0), le(60)],
    )
    indexer_url: str | None = _setting(
        "PROVER_INDEXER_URL",
        "PostgreSQL database of an indexer, whose table `blockheaders` headers are read from.",
        _indexer_url,
        None,
        secret=True,
    )
    chain_rules: Path | None = _setting(
        "PROVER_CHAIN_RULES",
        "File of JSON with the rules of further chains' base fees, beside those that are built in.",
        Path,
        None,
    )
    follow_seconds: float = _setting(
        "PROVER_FOLLOW_SECONDS",
        "How often `prover headers sync --follow` looks for new blocks.",
        _number,
        12.0,
        [gt(0), le(MAX_SECONDS)],
    )
    max_headers_lag_seconds: float | None = _setting(
        "PROVER_MAX_HEADERS_LAG_SECONDS",
        "How old the newest header may be before readiness warns; unset means any age, for chains "
        "that are not followed.",
        _number,
        None,
        optional([gt(0), le(MAX_SECONDS)]),
    )
    monitoring_port: int | None = _setting(
        "PROVER_MONITORING_PORT",
        "Port on which a worker without an API answers /health/live, /health/ready and /metrics; "
        "0 takes a free one, unset means none.",
        _integer,
        None,
        optional([ge(0), le(65535)]),
    )
    monitoring_host: str = _setting(
        "PROVER_MONITORING_HOST",
        "Address of that port; an address that other machines reach needs PROVER_OPEN, too.",
        str,
        "127.0.0.1",
    )
    key_dir: Path | None = _setting(
        "PROVER_KEY_DIR",
        "Directory of the keys that sign receipts; unset means keys in the data directory.",
        Path,
        None,
    )
    require_signature: bool = _setting(
        "PROVER_REQUIRE_SIGNATURE",
        "Refuse to start without a key that signs receipts, and store no result whose receipt is "
        "not signed.",
        _flag,
        False,  # noqa: FBT003 - the default's place is the same for all settings
    )
    trusted_keys: tuple[str, ...] = _setting(
        "PROVER_TRUSTED_KEYS",
        "Public keys that a signature counts under when a receipt is verified: 64 hex digits or "
        "a file, with commas.",
        names_in,
        (),
    )
    trusted_hash: str | None = _setting(
        "PROVER_TRUSTED_HASH",
        "Hash of a block that is taken for a real one when a receipt is verified; the headers must "
        "lead to it.",
        _block_hash,
        None,
    )
    verify_headers: str | None = _setting(
        "PROVER_VERIFY_HEADERS",
        "What receipts are compared with when they are verified: a CSV file of headers of mainnet, "
        "or `node`, the node of PROVER_RPC_URL; unset means the database.",
        str,
        None,
    )
    verify_processes: int = _setting(
        "PROVER_VERIFY_PROCESSES",
        "How many receipts are verified at a time for those who ask over HTTP; each in a process.",
        _integer,
        1,
        [ge(1), le(64)],
    )
    verify_seconds: float = _setting(
        "PROVER_VERIFY_SECONDS",
        "How long the verification of one receipt over HTTP may take before it is ended.",
        _number,
        10.0,
        [ge(1), le(300)],
    )
    plugins: tuple[str, ...] | None = _setting(
        "PROVER_PLUGINS",
        "Names of the plugins to load, with commas; unset means all that are installed.",
        names_in,
        None,
    )
    plugins_disabled: tuple[str, ...] = _setting(
        "PROVER_PLUGINS_DISABLED", "Names of plugins not to load, with commas.", names_in, ()
    )
    required: tuple[str, ...] | None = _setting(
        "PROVER_REQUIRED",
        "Names of the proof types that each job group must ask for, with commas, or `none`; unset "
        "means what the plugins say.",
        _required,
        None,
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
    log_format: str = _setting(
        "PROVER_LOG_FORMAT",
        "How lines of the log look: `text` for people, or `json`, an object in each line.",
        _lower,
        LogForm.TEXT.value,
        in_(LOG_FORMS),
    )
    access_log: bool = _setting(
        "PROVER_ACCESS_LOG",
        "Log each request with its status and time, but those of /health and /metrics.",
        _flag,
        True,  # noqa: FBT003 - as above
    )
    tracing: bool = _setting(
        "PROVER_TRACING",
        "Send traces by OpenTelemetry, from a request to its receipts; its own variables, "
        "`OTEL_…`, say where to.",
        _flag,
        False,  # noqa: FBT003 - as above
    )
    # Variables that begin with `PLUGIN_PREFIX`; each plugin is given its own, and no others.
    plugin_variables: dict[str, str] = attrs.field(factory=dict, repr=False)
    # Names of all variables that were given a value, whatever they are for.
    given_names: frozenset[str] = attrs.field(default=frozenset(), repr=False, eq=False)

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
        return attrs.evolve(
            own,
            seconds=self.compute_seconds or own.seconds,
            memory_bytes=own.memory_bytes if memory is None else memory * 2**20,
        )

    @property
    def key_path(self) -> Path:
        """Where the keys that sign receipts are."""
        return self.key_dir or self.data_dir / "keys"

    @property
    def work_path(self) -> Path:
        """Where computations keep what they need at their next attempt."""
        return (self.work_dir or self.data_dir / "work").absolute()

    def cache_path(self, kind: str) -> Path:
        """Where the plugin of a kind of seal keeps what it uses again."""
        return self.work_path / "cache" / kind

    @property
    def embedded_file(self) -> Path | None:
        """The file of the embedded database that is used; None on a server."""
        if self.database_url is None:
            return self.sqlite_path.absolute()
        if self.database_url.startswith(SQLITE_SCHEME):
            return Path(self.database_url.removeprefix(SQLITE_SCHEME))
        return None

    @property
    def sqlite_path(self) -> Path:
        """Where the embedded database is."""
        return self.data_dir / "prover.sqlite3"


def load_settings(environment: Mapping[str, str], dotenv_file: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environment: Usually ``os.environ``. An empty value counts as unset. A secret can stand in
            a file that the variable with `FILE_SUFFIX` at its end names.
        dotenv_file: A file of further variables; one that does not exist is no error.

    Raises:
        SettingsError: A setting is wrong; the message names the variable and its rule.
    """
    variables: dict[str, str | None] = _dotenv(dotenv_file) if dotenv_file else {}
    variables.update({name: text for name, text in environment.items() if text})
    values: dict[str, object] = {}
    for field in described_settings():
        variable = field.metadata["variable"]
        text = variables.get(variable)
        if not field.repr and (file := variables.get(variable + FILE_SUFFIX)):
            if text:
                raise SettingsError(
                    f"{variable} and {variable}{FILE_SUFFIX} are both set: unset one"
                )
            text = _secret_in(variable + FILE_SUFFIX, Path(file))
        if text:
            values[field.name] = _read(field, text)
    values["plugin_variables"] = {
        name: text for name, text in variables.items() if name.startswith(PLUGIN_PREFIX) and text
    }
    values["given_names"] = frozenset(name for name, text in variables.items() if text)
    return Settings(**values)  # type: ignore[arg-type]


def described_settings() -> "list[attrs.Attribute[Any]]":
    """Return the settings that have a variable of their own, with its name and description."""
    return [field for field in attrs.fields(Settings) if "variable" in field.metadata]


def plugin_settings(name: str, cls: type[T], variables: Mapping[str, str]) -> T:
    """Read the settings of a plugin's own.

    Args:
        name: Name of the plugin or of its kind of data, any letters, digits, ``_`` and ``-``.
        cls: Their attrs class. A field that is no string is written as JSON. What a field with
            ``repr=False`` holds is a secret, and is not repeated in errors.
        variables: All variables that begin with `PLUGIN_PREFIX`.

    Raises:
        SettingsError: One is missing, wrong or unknown, and which variable that is.
    """
    prefix = f"{PLUGIN_PREFIX}{name.upper().replace('-', '_')}__"
    given = {
        variable.removeprefix(prefix).lower(): text
        for variable, text in variables.items()
        if variable.startswith(prefix)
    }
    fields = class_form(cls).fields
    document: dict[str, Json] = {}
    for key, text in _secrets_read(prefix, given, fields):
        is_text = key in fields and isinstance(fields[key].form, TextForm)
        try:
            document[key] = text if is_text else parse_json(text.encode())
        except RequestError:
            document[key] = text
    try:
        return structure(document, cls)
    except RequestError as error:
        own: Any = cls
        secrets = {field.alias or field.name for field in attrs.fields(own) if not field.repr}
        told = "; ".join(
            f"{prefix}{problem.where.upper()} "
            + (HIDDEN if problem.where in secrets & given.keys() else problem.what)
            for problem in error.problems
        )
        raise SettingsError(told) from None


def secret_variables() -> tuple[str, ...]:
    """Return the names of the variables that may hold a password."""
    return tuple(field.metadata["variable"] for field in described_settings() if not field.repr)


def plugin_variables_in(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables that hold settings of plugins, each its own plugin's."""
    return tuple(name for name in environment if name.startswith(PLUGIN_PREFIX))


def aws_variables(dotenv_file: Path) -> dict[str, str]:
    """Return the AWS variables of a ``.env`` file: AWS's library reads the environment only."""
    found = _dotenv(dotenv_file).items()
    return {name: text for name, text in found if name.startswith("AWS_") and text}


def _secrets_read(
    prefix: str, given: Mapping[str, str], fields: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield a plugin's fields with their texts, those of `FILE_SUFFIX` from their files."""
    for key, text in given.items():
        field = key.removesuffix(FILE_SUFFIX.lower())
        if key in fields or field == key or field not in fields:
            yield key, text
            continue
        if field in given:
            raise SettingsError(f"{prefix}{field.upper()} and {prefix}{key.upper()} are both set")
        yield field, _secret_in(prefix + key.upper(), Path(text))


def _secret_in(variable: str, file: Path) -> str:
    """Read a secret from a file, without the ends of lines after it."""
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_SECRET_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{variable}: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}: {file} is not UTF-8") from None
    if not text or len(content) > MAX_SECRET_BYTES:
        raise SettingsError(f"{variable}: {file} must hold the secret and nothing else")
    return text


def _dotenv(file: Path) -> dict[str, str | None]:
    try:
        # A directory of this name is somebody's environment of Python.
        if not stat.S_ISREG(file.stat().st_mode):
            return {}
        # The library takes a file that cannot be read for one that is not there.
        with file.open(encoding="utf-8-sig") as stream:
            # Some editors begin a file with a byte order mark.
            return dotenv_values(stream=stream, interpolate=False)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(f"the settings in {file} cannot be read: {reason}") from None


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
