"""A command whose options are the parameters of the proof types that are installed."""

from collections.abc import Mapping, Sequence
from typing import Any

import click
from attrs import frozen

from prover_framework.cli.operating import (
    chosen_settings,
    installed_plugins,
    note_url_in,
    with_operations,
)
from prover_framework.errors import ProverError, RequestError
from prover_framework.model.names import MAX_INT64
from prover_framework.model.proofs import ProofType
from prover_framework.operations import Operations
from prover_framework.plugins.registry import NO_PLUGINS, Plugins
from prover_framework.serialization.forms import MAX_EXACT_INTEGER, SCALAR_TYPES
from prover_framework.serialization.json_schema import schema_of
from prover_framework.serialization.json_text import Json, dump_json, parse_json

_PLUGINS = "prover_framework.plugins.loading"
_GIVEN = "prover_framework.parameters"

# What an integer is bounded by in any case.
OWN_BOUNDS = (MAX_INT64, MAX_EXACT_INTEGER, -MAX_EXACT_INTEGER)

_BOUNDS: Mapping[str, str] = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}


class ParametersCommand(click.Command):
    """Has an option ``--TYPE.NAME`` for each parameter of each installed proof type.

    Where the command is for a service at a URL, that is asked for them. Plugins are loaded when the
    command is run or its help is shown, and not before.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and those of the proof types."""
        return [*super().get_params(ctx), *self._options(ctx)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line. An option may be unknown for want of the plugins."""
        note_url_in(ctx, args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            if isinstance(error := ctx.meta.get(_PLUGINS), ProverError):
                raise error from None
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options, then those of each proof type."""
        own = [param for param in super().get_params(ctx) if isinstance(param, click.Option)]
        _write(formatter, "Options", own, ctx)
        options = self._options(ctx)
        for proof_type in _proof_types(ctx).values():
            mine = [option for option in options if option.proof_type == proof_type.name]
            required = ", required" if proof_type.is_required else ""
            _write(formatter, f"Parameters of {proof_type.title}{required}", mine, ctx)

    def _options(self, ctx: click.Context) -> list["_Parameter"]:
        return [
            _Parameter(proof_type, key, number)
            for number, (proof_type, key) in enumerate(
                (proof_type, key)
                for proof_type in _proof_types(ctx).values()
                for key in proof_type.properties
            )
        ]


@frozen
class DescribedType:
    """A proof type as far as a command line needs it.

    Args:
        name: Its name.
        title: What people call it.
        is_required: Whether each group has to have it.
        properties: JSON Schemas of its parameters by their names.
    """

    name: str
    title: str
    is_required: bool
    properties: Mapping[str, dict[str, Json]]


@frozen
class _Loaded:
    plugins: Plugins
    types: Mapping[str, DescribedType]


@frozen
class Given:
    """What the command was given: the proof types, and the values of their parameters.

    Args:
        plugins: What is installed; nothing where the command is for a service at a URL.
        types: The proof types, by name.
        values: For each proof type the given parameters by name.
    """

    plugins: Plugins
    types: Mapping[str, DescribedType]
    values: Mapping[str, Mapping[str, Json]]


def given() -> Given:
    """Return what the running command was given.

    Raises:
        ProverError: Plugins cannot be loaded as the settings say.
    """
    ctx = click.get_current_context()
    loaded = ctx.meta[_PLUGINS]
    if isinstance(loaded, ProverError):
        raise loaded
    return Given(loaded.plugins, loaded.types, ctx.meta.get(_GIVEN, {}))


class _Parameter(click.Option):
    """The option for one parameter of a proof type."""

    def __init__(self, proof_type: DescribedType, key: str, number: int) -> None:
        schema = proof_type.properties[key]
        super().__init__(
            [f"--{proof_type.name}.{key}", f"parameter_{number}"],
            type=_Value(schema),
            metavar=_kind(schema),
            help=_help(schema),
            expose_value=False,
            callback=self._note,
        )
        self.proof_type = proof_type.name
        self.key = key

    def _note(self, ctx: click.Context, _: click.Parameter, value: "_Json | None") -> None:
        if value is not None:
            forms = ctx.meta.setdefault(_GIVEN, {})
            forms.setdefault(self.proof_type, {})[self.key] = value.value


@frozen
class _Json:
    """A value of an option; null is one, too."""

    value: Json


# click's parameter types are generic from version 8.4 on.
class _Value(click.ParamType):  # type: ignore[type-arg]
    """Reads a value: JSON, or a bare text where a text is wanted.

    What is wrong with it otherwise the service says, as it does to everybody.
    """

    name = "value"

    def __init__(self, schema: Mapping[str, Json]) -> None:
        self._types = _types(schema)
        self._kind = _kind(schema)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> _Json:
        text = str(value)
        if self._types == {"string"}:
            return _Json(text)
        try:
            read = parse_json(text.encode("utf-8", "surrogateescape"))
        except RequestError:
            if "string" not in self._types:
                self.fail(f"{text!r} is not {self._kind}", param, ctx)
            return _Json(text)
        if "string" in self._types and SCALAR_TYPES.get(type(read)) not in self._types:
            # A text that only looks like a number, say.
            return _Json(text)
        return _Json(read)


def _write(
    formatter: click.HelpFormatter, title: str, options: Sequence[click.Option], ctx: click.Context
) -> None:
    with formatter.section(title):
        records = [option.get_help_record(ctx) for option in options]
        formatter.write_dl([record for record in records if record])


def _proof_types(ctx: click.Context) -> Mapping[str, DescribedType]:
    if _PLUGINS not in ctx.meta:
        try:
            ctx.meta[_PLUGINS] = _load()
        except ProverError as error:
            # The help is shown all the same; who runs the command is told by `given`.
            ctx.meta[_PLUGINS] = error
    loaded = ctx.meta[_PLUGINS]
    return loaded.types if isinstance(loaded, _Loaded) else {}


def _load() -> _Loaded:
    """Load the plugins, or ask the service which proof types it has."""
    chosen = chosen_settings()
    if chosen.url is None:
        from prover_framework.sandbox.loading import load_plugins

        return _loaded(load_plugins(chosen))
    types = with_operations(installed_plugins, _ask_for_types)
    return _Loaded(NO_PLUGINS, {one.name: one for one in types})


def _loaded(plugins: Plugins) -> _Loaded:
    return _Loaded(
        plugins,
        {
            name: DescribedType(name, one.title, one.required, _properties(one))
            for name, one in plugins.proof_types.items()
        },
    )


async def _ask_for_types(operations: Operations) -> list[DescribedType]:
    return [
        DescribedType(one.name, one.title, one.required, one.properties)
        for one in await operations.proof_types()
    ]


def _properties(proof_type: ProofType[Any, Any]) -> dict[str, dict[str, Json]]:
    properties: Any = schema_of(proof_type.parameters)["properties"]
    return dict(properties)


def _types(schema: Mapping[str, Json]) -> set[Json]:
    """Return the names of the types that a value may have; empty where any will do."""
    parts = schema.get("anyOf")
    if isinstance(parts, list):
        # What names another class is an object.
        kinds = [_types(part) or {"object"} for part in parts if isinstance(part, dict)]
        return set().union(*kinds)
    choices = schema.get("enum")
    if isinstance(choices, list):
        return {SCALAR_TYPES[type(choice)] for choice in choices}
    return {schema["type"]} if "type" in schema else set()


def _kind(schema: Mapping[str, Json]) -> str:
    choices = schema.get("enum")
    if isinstance(choices, list):
        return "|".join(text if isinstance(text, str) else dump_json(text) for text in choices)
    types = _types(schema)
    words = {"integer": "INTEGER", "number": "NUMBER", "string": "TEXT", "boolean": "true|false"}
    if types - {"null"} and types <= {*words, "null"}:
        return "|".join([words[str(kind)] for kind in sorted(types - {"null"}, key=str)])
    return "JSON"


def _help(schema: Mapping[str, Json]) -> str:
    inner = dict(schema)
    parts = schema.get("anyOf")
    if isinstance(parts, list) and isinstance(parts[0], dict):
        inner = parts[0] | inner
    notes = [
        f"{word} {dump_json(inner[key])}"
        for key, word in _BOUNDS.items()
        # The largest integer of all is no news to people.
        if key in inner and inner[key] not in OWN_BOUNDS
    ]
    if "null" in _types(schema):
        notes.append("or null")
    if "default" in schema:
        default = schema["default"]
        notes.append(f"default: {default if isinstance(default, str) else dump_json(default)}")
    description = str(schema.get("description", ""))
    return f"{description}  [{'; '.join(notes)}]" if notes else description
