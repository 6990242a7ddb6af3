"""How hooks cross to a sandbox process and back: one table, with a row for each hook.

The methods of a kind of input data have rows, too.

A row says how each argument is written by the caller and read in the process, which method of
`prover_framework.plugins.calls` is called with them, and what its answer is. Parameters and results
are written and read by the plugin's own classes, all else by the framework's types.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from attrs import frozen

from prover_framework.errors import NoExactForm, Problem, RequestError, ResultInvalid
from prover_framework.model.charts import Chart
from prover_framework.model.inputs import Inputs, Needs
from prover_framework.model.proofs import Dispatch, JobRequest
from prover_framework.model.receipts import Artefact, GroupReceipts
from prover_framework.model.verdict import Verdict
from prover_framework.model.work import Work
from prover_framework.plugins.calls import (
    Composer,
    DataFacts,
    Judgement,
    KindHooks,
    ProofHooks,
    Sealer,
)
from prover_framework.plugins.registry import Plugins
from prover_framework.receipts.canonical import require_stated
from prover_framework.receipts.documents import document_of, receipt_from
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import Json, dump_json, parse_json
from prover_framework.serialization.objections import MAX_PROBLEMS

A = TypeVar("A")


@frozen
class Problems:
    """What `validate` answers."""

    problems: tuple[Problem, ...]


@frozen
class Charts:
    """What `charts` answers."""

    charts: tuple[Chart, ...]


@frozen
class Artefacts:
    """What `compose` answers."""

    artefacts: tuple[Artefact, ...]


@frozen
class Sealed:
    """What `make_seal` answers; None where the kind of seal does not apply."""

    seal: dict[str, Any] | None


@frozen
class GivenData:
    """One input of a computation, on its way to it.

    Args:
        data_type: Where its class stands: module, ``:`` and name.
        form: The JSON form of the data.
    """

    data_type: str
    form: Json


@frozen(kw_only=True)
class LoadedForm:
    """What `InputKind.load` answers, in JSON forms; see `LoadedData`."""

    data: Any
    evidence: Any
    provenance: dict[str, Any]


@frozen
class Argument:
    """How one argument of a hook crosses.

    Args:
        write: Turns it into JSON, where the hook is called from.
        read: Turns that back, for the one plugin that is loaded in the process.
    """

    write: Callable[[Any], Json]
    read: Callable[[Any, Plugins], object]


@frozen(kw_only=True)
class Hook(Generic[A]):
    """A row of the table.

    Args:
        name: Name of the hook in `prover_framework.hookspecs`.
        arguments: Its arguments, by their names there.
        call: Calls the hook of the one plugin that is loaded, with these arguments by name.
        answer: Reads the answer from its JSON form, where the hook is called from.
        stated: Whether the answer goes into a receipt, which has to hold it exactly.
        works: Whether it computes, and is given `Work` besides.
    """

    name: str
    arguments: Mapping[str, Argument]
    call: Callable[..., object]
    answer: Callable[[dict[str, Any]], A]
    stated: bool = False
    works: bool = False

    def write(self, arguments: Mapping[str, object]) -> dict[str, Json]:
        """Return the JSON form of the hook's arguments."""
        return {name: each.write(arguments[name]) for name, each in self.arguments.items()}

    def read(self, arguments: Mapping[str, Json], plugin: Plugins) -> dict[str, object]:
        """Return the hook's arguments from their JSON form.

        Raises:
            RequestError: They do not fit the plugin's classes.
        """
        return {name: each.read(arguments[name], plugin) for name, each in self.arguments.items()}

    def perform(
        self, arguments: Mapping[str, Json], plugin: Plugins, work: Work
    ) -> dict[str, Json]:
        """Call the hook of the plugin; return the JSON form of what it answers.

        Raises:
            ResultInvalid: The answer has none, or none that a receipt can state.
        """
        beside = {"work": work} if self.works else {}
        form = _form(self.call(plugin, **self.read(arguments, plugin), **beside))
        if self.stated:
            try:
                require_stated(form, "what it returned")
            except NoExactForm as error:
                raise ResultInvalid(f"returned what no receipt can state: {error}") from None
        return form


def _form(answer: object) -> dict[str, Json]:
    """Return the JSON form of an answer, which has to survive the way to JSON and back."""
    try:
        form = unstructure(answer)
        again = structure(parse_json(dump_json(form).encode()), type(answer))
        # Fields that do not count for equality count here.
        if again != answer or unstructure(again) != form:
            raise ResultInvalid("returned what is something else after it went through JSON")
    except (ValueError, TypeError, RequestError) as error:
        raise ResultInvalid(f"returned what has no JSON form: {error}") from None
    if not isinstance(form, dict):
        raise ResultInvalid("returned what is no object in JSON")
    return form


def _proof(plugin: Plugins) -> ProofHooks:
    (hooks,) = plugin.hooks.values()
    return hooks


def _sealer(plugin: Plugins) -> Sealer:
    (sealer,) = plugin.sealers.values()
    return sealer


def _composer(plugin: Plugins) -> Composer:
    (composer,) = plugin.composers
    return composer


def _kind(plugin: Plugins) -> KindHooks:
    (kind,) = (kind for kind in plugin.kinds.values() if not kind.is_builtin)
    return kind


def _as_it_is(value: Json) -> Json:
    return value


def _read_parameters(value: Json, plugin: Plugins) -> object:
    return structure(value, _proof(plugin).proof_type.parameters)


def _read_job(value: Json, plugin: Plugins) -> JobRequest:
    return JobRequest(_proof(plugin).proof_type.name, _read_parameters(value, plugin))


def _of_type(cls: type[Any]) -> Argument:
    return Argument(unstructure, lambda value, _: structure(value, cls))


def _reader(cls: type[A]) -> Callable[[dict[str, Any]], A]:
    return lambda form: structure(form, cls)


def _result(form: dict[str, Any]) -> dict[str, Json]:
    return form


def type_path(cls: type[Any]) -> str:
    """Return where a class stands, for `GivenData`."""
    return f"{cls.__module__}:{cls.__qualname__}"


def _write_inputs(inputs: Mapping[str, GivenData]) -> Json:
    return {name: {"type": given.data_type, "data": given.form} for name, given in inputs.items()}


def _read_inputs(value: Any) -> Inputs:
    return Inputs(
        {name: structure(given["data"], _class_at(given["type"])) for name, given in value.items()}
    )


def _class_at(path: str) -> type[Any]:
    """Return a class by where it stands; the service says so, which has loaded its plugin."""
    module, _, name = path.partition(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return cast(type[Any], found)


# The service keeps parameters in their JSON form; their class is the plugin's code.
PARAMETERS = Argument(_as_it_is, _read_parameters)

# A job is its parameters: the proof type is the plugin's.
JOB = Argument(_as_it_is, _read_job)

INPUTS = Argument(_write_inputs, lambda value, _: _read_inputs(value))

BYTES = Argument(bytes.hex, lambda value, _: bytes.fromhex(value))

# JSON for the plugin, too.
DOCUMENT = Argument(_as_it_is, lambda value, _: value)

RECEIPT = Argument(document_of, lambda value, _: receipt_from(value))

# A receipt that was not made just now comes without the data of its result.
OPTIONAL_INPUTS = Argument(
    lambda inputs: None if inputs is None else INPUTS.write(inputs),
    lambda value, plugin: None if value is None else INPUTS.read(value, plugin),
)


NEED = Argument(_as_it_is, lambda value, plugin: structure(value, _kind(plugin).kind.need_type))

DATA = Argument(_as_it_is, lambda value, plugin: structure(value, _kind(plugin).kind.data_type))

# A verifier may have no data of his own.
OPTIONAL_DATA = Argument(
    _as_it_is, lambda value, plugin: None if value is None else DATA.read(value, plugin)
)


def _read_settings(value: Json, plugin: Plugins) -> object:
    settings_type = _kind(plugin).kind.settings_type
    return None if settings_type is None else structure(value, settings_type)


KIND_SETTINGS = Argument(_as_it_is, _read_settings)


def _read_proof_settings(value: Json, plugin: Plugins) -> object:
    settings = _proof(plugin).proof_type.settings
    return None if settings is None or value is None else structure(value, settings)


PROOF_SETTINGS = Argument(_as_it_is, _read_proof_settings)


RESULT = Argument(
    _as_it_is, lambda value, plugin: structure(value, _proof(plugin).proof_type.result)
)


def _load(plugin: Plugins, **arguments: Any) -> LoadedForm:
    loaded = _kind(plugin).load(**arguments)
    return LoadedForm(
        data=unstructure(loaded.data),
        evidence=None if loaded.evidence is None else unstructure(loaded.evidence),
        provenance=loaded.provenance,
    )


def _validate(plugin: Plugins, parameters: object) -> Problems:
    # More of them are not shown.
    return Problems(tuple(_proof(plugin).validate(parameters)[: MAX_PROBLEMS + 1]))


def _compute(plugin: Plugins, **arguments: Any) -> object:
    hooks = _proof(plugin)
    result, wanted = hooks.compute(**arguments), hooks.proof_type.result
    if type(result) is not wanted:
        raise ResultInvalid(f"returned {type(result).__name__}, not {wanted.__name__}")
    return result


def _verify(plugin: Plugins, claimed: Json, **arguments: Any) -> Verdict:
    hooks = _proof(plugin)
    try:
        result = structure(claimed, hooks.proof_type.result)
    except RequestError as error:
        return Verdict(accepted=False, reason=f"the result cannot be read: {error}")
    return hooks.verify(claimed=result, **arguments)


VALIDATE = Hook(
    name="validate",
    arguments={"parameters": PARAMETERS},
    call=_validate,
    answer=_reader(Problems),
)
DATA_NEEDS = Hook(
    name="inputs",
    arguments={"parameters": PARAMETERS},
    call=lambda plugin, **arguments: Needs(needs=_proof(plugin).inputs(**arguments)),
    answer=_reader(Needs),
)
DISPATCH = Hook(
    name="dispatch",
    arguments={"job": JOB},
    call=lambda plugin, **arguments: _proof(plugin).dispatch(**arguments),
    answer=_reader(Dispatch),
)
COMPUTE = Hook(
    name="compute",
    arguments={
        "parameters": PARAMETERS,
        "inputs": INPUTS,
        "seed": BYTES,
        "settings": PROOF_SETTINGS,
    },
    call=_compute,
    # Of the plugin's class, and the service keeps its JSON form.
    answer=_result,
    stated=True,
    works=True,
)
VERIFY = Hook(
    name="verify",
    # A claimed result that cannot be read is judged, and is no error of the plugin.
    arguments={
        "parameters": PARAMETERS,
        "inputs": INPUTS,
        "seed": BYTES,
        "claimed": DOCUMENT,
        "settings": PROOF_SETTINGS,
    },
    call=_verify,
    answer=_reader(Verdict),
    # To compute again is the default.
    works=True,
)
CHARTS = Hook(
    name="charts",
    arguments={
        "parameters": PARAMETERS,
        "inputs": INPUTS,
        "seed": BYTES,
        "result": RESULT,
        "settings": PROOF_SETTINGS,
    },
    call=lambda plugin, **arguments: Charts(_proof(plugin).charts(**arguments)),
    answer=_reader(Charts),
)
COMPOSE = Hook(
    name="compose",
    arguments={"group": _of_type(GroupReceipts)},
    call=lambda plugin, **arguments: Artefacts(_composer(plugin).compose(**arguments)),
    answer=_reader(Artefacts),
    stated=True,
)
MAKE_SEAL = Hook(
    name="make_seal",
    arguments={"receipt": RECEIPT, "digest": BYTES, "inputs": OPTIONAL_INPUTS},
    call=lambda plugin, **arguments: Sealed(_sealer(plugin).make(**arguments)),
    answer=_reader(Sealed),
    works=True,
)
CHECK_SEAL = Hook(
    name="check_seal",
    arguments={
        "receipt": RECEIPT,
        "digest": BYTES,
        "seal": DOCUMENT,
        "inputs": OPTIONAL_INPUTS,
    },
    call=lambda plugin, **arguments: _sealer(plugin).check(**arguments),
    answer=_reader(Verdict),
    works=True,
)

LOAD = Hook(
    name="load",
    arguments={"need": NEED, "settings": KIND_SETTINGS},
    call=_load,
    answer=_reader(LoadedForm),
)
STATE = Hook(
    name="facts",
    arguments={"data": DATA},
    call=lambda plugin, **arguments: _kind(plugin).state(**arguments),
    answer=_reader(DataFacts),
    stated=True,
)
JUDGE = Hook(
    name="judge",
    arguments={
        "facts": DOCUMENT,
        "query": DOCUMENT,
        "own": OPTIONAL_DATA,
        "evidence": DOCUMENT,
        "settings": KIND_SETTINGS,
    },
    call=lambda plugin, **arguments: _kind(plugin).judge(**arguments),
    answer=_reader(Judgement),
)

HOOKS: Mapping[str, Hook[Any]] = MappingProxyType(
    {
        hook.name: hook
        for hook in (
            VALIDATE,
            DATA_NEEDS,
            DISPATCH,
            COMPUTE,
            VERIFY,
            CHARTS,
            COMPOSE,
            MAKE_SEAL,
            CHECK_SEAL,
            LOAD,
            STATE,
            JUDGE,
        )
    }
)
