"""The JSON forms of the framework's types, in one place.

Nothing is coerced on the way in: ``"5"`` and ``true`` are not integers here. Everything that is
wrong with a document is reported at once, each problem with its path.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import attrs
import cattrs
from attrs import frozen

from prover_framework.errors import MessageError, PluginError, Problem, RequestError, told
from prover_framework.jsontext import Json, describe, dump_json, parse_json, quote
from prover_framework.model import GroupRequest, JobRequest, ProofType

T = TypeVar("T")

GROUP_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
GROUP_ID_RULE = "1 to 128 letters, digits, '.', '_', ':' or '-'"
GROUP_ID_KEY = "job_group_id"

# A body full of mistakes must not give an answer as long as itself.
MAX_PROBLEMS = 20
MAX_MESSAGE_LENGTH = 300
LONG_NUMBER = re.compile(r"\d{41,}")

MESSAGE_VERSION = 1

# Anything else is no id that we ever made, and perhaps nothing that a database can look for.
JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")

# What other services on the same queue send, and we with it. Whatever else is in a message of
# theirs is ignored.
SHARED_FIELDS = ("job_id", GROUP_ID_KEY, "start_timestamp", "end_timestamp")
SPAN_FIELDS = SHARED_FIELDS[2:]

# What the types of fields may be made of, beside attrs classes, enumerations and dictionaries.
SCALARS: tuple[Any, ...] = (bool, int, float, str, NoneType, Any)
ARRAYS: dict[Any, Callable[[list[Any]], Any]] = {
    tuple: tuple,
    list: list,
    set: set,
    frozenset: frozenset,
    Sequence: tuple,
    AbstractSet: frozenset,
}


def structure(value: Json, cls: type[T], where: str = "") -> T:
    """Turn a JSON value into an instance of ``cls``.

    Raises:
        RequestError: The value does not fit; every problem carries its path below ``where``.
    """
    try:
        return _converter.structure(value, cls)
    except RequestError as error:
        raise RequestError([_below(where, problem) for problem in error.problems]) from None
    except (ValueError, TypeError) as error:
        raise RequestError([Problem(where, str(error))]) from None


def unstructure(value: object) -> Json:
    """Turn an instance of one of the framework's or a plugin's types into its JSON form."""
    return cast(Json, _converter.unstructure(value))


def require_form(cls: type[Any]) -> None:
    """Require that a class and all that its fields are made of have a JSON form.

    Raises:
        TypeError: One has none, and which.
    """
    _require_form(cls, cls.__name__, set())


def parse_group_request(
    body: bytes, proof_types: Mapping[str, ProofType[Any, Any]]
) -> GroupRequest:
    """Read the body of ``POST /api/job``.

    Args:
        body: The bytes as received.
        proof_types: The installed proof types by name.

    Raises:
        RequestError: All problems of the body; its ``group_id`` is set where the body has one.
        PluginError: A class of parameters misbehaved.
    """
    document = parse_json(body)
    if not isinstance(document, dict):
        raise RequestError([Problem("", f"the body must be an object, got {describe(document)}")])
    problems: list[Problem] = []
    group_id = document.get(GROUP_ID_KEY)
    if GROUP_ID_KEY not in document:
        problems.append(Problem(GROUP_ID_KEY, "is required"))
    elif not isinstance(group_id, str):
        problems.append(Problem(GROUP_ID_KEY, f"must be a string, got {describe(group_id)}"))
    elif not GROUP_ID.fullmatch(group_id):
        problems.append(_bad_group_id(group_id))
    jobs: list[JobRequest] = []
    for key, value in document.items():
        if key == GROUP_ID_KEY:
            continue
        proof_type = proof_types.get(key)
        if proof_type is None:
            problems.append(Problem(quote(key), _not_installed(proof_types)))
            continue
        try:
            jobs.append(JobRequest(key, structure(value, proof_type.parameters, key)))
        except RequestError as error:
            problems.extend(error.problems)
        except (Exception, SystemExit) as error:
            # What a class does when it is made is the plugin's code.
            raise PluginError(
                f"proof type {key}: making its parameters raised {told(error)}"
            ) from error
    for name, proof_type in sorted(proof_types.items()):
        if proof_type.required and name not in document:
            problems.append(Problem(name, "is required"))
    if not problems and not jobs:
        problems.append(
            Problem("", f"the request asks for no proof (installed: {_names(proof_types)})")
        )
    if problems:
        raise RequestError(
            capped(problems),
            group_id if isinstance(group_id, str) and GROUP_ID.fullmatch(group_id) else None,
        )
    return GroupRequest(cast(str, group_id), tuple(jobs))


def capped(problems: Sequence[Problem]) -> list[Problem]:
    """Keep the first problems and say how many more there were."""
    if len(problems) <= MAX_PROBLEMS:
        return list(problems)
    more = len(problems) - MAX_PROBLEMS
    return [*problems[:MAX_PROBLEMS], Problem("", f"and {more} more")]


def dump_parameters(parameters: object) -> str:
    """Write parameters as JSON text; equal parameters give equal text."""
    return dump_json(unstructure(parameters))


@frozen(kw_only=True)
class JobMessage:
    """The queue message of one job.

    The first four fields are the format of other services on the same queue; the rest is ours.

    Args:
        job_id: Name of the proof type.
        job_group_id: Id of the group.
        start_timestamp: Unix seconds, of a proof over a range.
        end_timestamp: Unix seconds, of a proof over a range.
        id: Our unique job id; a message of another sender has none.
        version: `MESSAGE_VERSION` of the sender.
        params: All parameters. They only inform: what counts is the stored job.
    """

    job_id: str
    job_group_id: str
    start_timestamp: int | None = None
    end_timestamp: int | None = None
    id: str | None = None
    version: int = MESSAGE_VERSION
    params: dict[str, Any] | None = None


def dump_message(message: JobMessage) -> str:
    """Write a message; fields without a value are left out."""
    fields = attrs.asdict(message, recurse=False, filter=lambda _, value: value is not None)
    return json.dumps(fields, separators=(",", ":"), allow_nan=False)


def parse_message(body: str) -> JobMessage:
    """Read a queue message; fields it does not know are ignored.

    Raises:
        MessageError: It is not such a message, and why.
    """
    try:
        document = parse_json(body.encode("utf-8", "surrogatepass"))
        if not isinstance(document, dict):
            raise MessageError(f"the message must be an object, got {describe(document)}")
        # Others may have fields of these names, too; ours come together.
        if type(document.get("id")) is str and type(document.get("version")) is int:
            known = {field.name for field in attrs.fields(JobMessage)}
        else:
            known = set(SHARED_FIELDS)
        message = structure({k: v for k, v in document.items() if k in known}, JobMessage)
    except RequestError as error:
        raise _not_understood(error.problems) from None
    if message.id is not None and not JOB_ID.fullmatch(message.id):
        raise MessageError(f"id: must be the unique id of a job, got {describe(message.id)}")
    return message


def requested_job(
    message: JobMessage, proof_types: Mapping[str, ProofType[Any, Any]]
) -> JobRequest:
    """Read from a message of another sender which proof it asks for.

    Args:
        message: The message.
        proof_types: The installed proof types by name.

    Raises:
        MessageError: It asks for nothing that can be computed here, and why.
    """
    problems: list[Problem] = []
    if not GROUP_ID.fullmatch(message.job_group_id):
        problems.append(_bad_group_id(message.job_group_id))
    proof_type = proof_types.get(message.job_id)
    if proof_type is None:
        refusal = f"{quote(message.job_id)} {_not_installed(proof_types)}"
        raise _not_understood([*problems, Problem("job_id", refusal)])
    given = {name: getattr(message, name) for name in SPAN_FIELDS}
    form = {name: value for name, value in given.items() if value is not None}
    parameters = None
    try:
        parameters = structure(form, proof_type.parameters)
    except RequestError as error:
        problems.extend(error.problems)
    if problems:
        raise _not_understood(problems)
    return JobRequest(message.job_id, parameters)


def _bad_group_id(group_id: str) -> Problem:
    return Problem(GROUP_ID_KEY, f"must be {GROUP_ID_RULE}, got {describe(group_id)}")


def _not_installed(proof_types: Mapping[str, ProofType[Any, Any]]) -> str:
    return f"is not an installed proof type (installed: {_names(proof_types)})"


def _names(proof_types: Mapping[str, ProofType[Any, Any]]) -> str:
    return ", ".join(sorted(proof_types)) or "none"


def _not_understood(problems: Sequence[Problem]) -> MessageError:
    return MessageError(str(RequestError(capped(problems))))


def _below(where: str, problem: Problem) -> Problem:
    if not where or not problem.where:
        return Problem(where or problem.where, problem.what)
    joint = "" if problem.where.startswith("[") else "."
    return Problem(f"{where}{joint}{problem.where}", problem.what)


def _strict_integer(value: object, _: type) -> int:
    if type(value) is not int:
        raise ValueError(f"must be an integer, got {describe(value)}")
    return value


def _strict_number(value: object, _: type) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"must be a number, got {describe(value)}")
    try:
        return float(cast(float, value))
    except OverflowError:
        raise ValueError(f"is too large: {describe(value)}") from None


def _strict_string(value: object, _: type) -> str:
    if type(value) is not str:
        raise ValueError(f"must be a string, got {describe(value)}")
    return value


def _strict_boolean(value: object, _: type) -> bool:
    if type(value) is not bool:
        raise ValueError(f"must be true or false, got {describe(value)}")
    return value


def _scalar(hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Make the hook of a scalar type. cattrs takes it for enumerations with such values, too."""

    def either(value: Any, cls: Any) -> Any:
        return _strict_choice(cls)(value, cls) if is_choice(cls) else hook(value, cls)

    return either


def _strict_null(value: object, _: object) -> None:
    if value is not None:
        raise ValueError(f"must be null, got {describe(value)}")


def _strict_choice(cls: Any) -> Callable[[Any, Any], Any]:
    """Make the hook of an enumeration or a ``Literal``: one of its values, of the same type."""
    members = list(cls) if isinstance(cls, type(Enum)) else list(get_args(cls))
    values = [member.value if isinstance(member, Enum) else member for member in members]
    known = ", ".join(json.dumps(value) for value in values)

    def hook(value: Any, _: Any) -> Any:
        for choice, member in zip(values, members, strict=True):
            # True equals 1 and is another value all the same.
            if type(choice) is type(value) and choice == value:
                return member
        raise ValueError(f"must be one of {known}, got {describe(value)}")

    return hook


def _strict_array(cls: Any) -> Callable[[Any, Any], Any]:
    """Make the hook of a tuple, list or set. cattrs' own takes whatever can be iterated."""
    container = ARRAYS[get_origin(cls) or cls]
    arguments = get_args(cls)
    fixed = is_fixed_tuple(cls)
    length = len(arguments)

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise ValueError(f"must be an array, got {describe(value)}")
        if fixed and len(value) != length:
            raise ValueError(f"must have {length} elements, got {len(value)}")
        types = arguments if fixed else (arguments[0] if arguments else Any,) * len(value)
        return container(
            _structure_parts(
                (f"[{index}]", element, kind)
                for index, (element, kind) in enumerate(zip(value, types, strict=True))
            )
        )

    return hook


def _strict_mapping(cls: Any) -> Callable[[Any, Any], Any]:
    _, kind = get_args(cls) or (str, Any)

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise ValueError(f"must be an object, got {describe(value)}")
        parts = ((f"[{quote(key)}]", element, kind) for key, element in value.items())
        return dict(zip(value, _structure_parts(parts), strict=True))

    return hook


def _structure_parts(parts: Iterator[tuple[str, Any, Any]]) -> list[Any]:
    """Structure the elements of a collection and report the problems of all of them."""
    elements: list[Any] = []
    problems: list[Problem] = []
    for place, value, cls in parts:
        try:
            elements.append(structure(value, cls, place))
        except RequestError as error:
            problems.extend(error.problems)
    if problems:
        raise RequestError(problems)
    return elements


def _strict_object(cls: type[Any]) -> Callable[[Any, Any], Any]:
    """Make the hook that structures an attrs class field by field and reports all problems.

    cattrs' own stops at the first validator that objects, since the class's constructor runs
    them; here each field meets its validators alone, so that two bad fields are two problems.
    """
    attrs.resolve_types(cls)
    fields = {field.alias or field.name: field for field in attrs.fields(cls) if field.init}

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise RequestError([Problem("", f"must be an object, got {describe(value)}")])
        problems = [
            Problem(quote(key), f"is unknown (known: {', '.join(fields)})")
            for key in value
            if key not in fields
        ]
        arguments: dict[str, Any] = {}
        for key, field in fields.items():
            if key in value:
                try:
                    arguments[key] = structure(value[key], field.type, key)
                except RequestError as error:
                    problems.extend(error.problems)
            elif field.default is attrs.NOTHING:
                problems.append(Problem(key, "is required"))
        absent = [field for key, field in fields.items() if key not in value]
        problems.extend(_validate(cls, fields, arguments, absent))
        if problems:
            raise RequestError(problems)
        try:
            return cls(**arguments)
        except (ValueError, TypeError) as error:
            raise RequestError([_objection(error, fields)]) from None

    return hook


def _validate(
    cls: type[Any],
    fields: Mapping[str, "attrs.Attribute[Any]"],
    arguments: Mapping[str, Any],
    absent: Sequence["attrs.Attribute[Any]"],
) -> Iterator[Problem]:
    """Run the validators of the given fields, each by itself."""
    # Validators may look at other fields: they see an instance that has those that are sound.
    partial = object.__new__(cls)
    for key, argument in arguments.items():
        object.__setattr__(partial, fields[key].name, argument)
    for field in absent:
        if field.default is not attrs.NOTHING and not isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
            object.__setattr__(partial, field.name, field.default)
    for key, argument in arguments.items():
        field = fields[key]
        # A validator sees what the converter made, which only the constructor can tell.
        if field.validator is None or field.converter is not None:
            continue
        try:
            field.validator(partial, field, argument)
        except AttributeError:
            # It wanted a field that is not there: one with a problem of its own, or one that the
            # constructor makes; the constructor runs all validators again.
            continue
        except (ValueError, TypeError) as error:
            yield Problem(key, _validator_message(error, field.name, argument))


def _objection(error: Exception, fields: Mapping[str, "attrs.Attribute[Any]"]) -> Problem:
    """Find the field that the constructor objects to, which attrs' validators name."""
    for key, field in fields.items():
        if _text(error).startswith(f"'{field.name}' "):
            return Problem(key, _validator_message(error, field.name, None))
    return Problem("", _validator_message(error, "", None))


def _validator_message(error: Exception, name: str, value: object) -> str:
    """Put a validator's message in our form: no field name, which the path has, and bounded."""
    message = _text(error).removeprefix(f"'{name}' ")
    if type(value) in (int, float) and message.endswith(f": {value}"):
        # Limits of attrs end with the value itself.
        message = f"{message.removesuffix(f': {value}')}, got {describe(value)}"
    message = LONG_NUMBER.sub(lambda digits: f"{digits[0][:20]}...", message)
    message = message.encode("utf-8", "backslashreplace").decode()
    return message if len(message) <= MAX_MESSAGE_LENGTH else f"{message[:MAX_MESSAGE_LENGTH]}..."


def _text(error: Exception) -> str:
    """Return the message alone: validators of attrs hand on their field and value beside it."""
    return str(error.args[0]) if error.args else ""


def _require_form(cls: Any, where: str, seen: set[Any]) -> None:
    if attrs.has(cls):
        if cls in seen:
            return
        seen.add(cls)
        try:
            attrs.resolve_types(cls)
        except Exception as error:
            raise TypeError(f"the types of {where} can not be resolved: {error}") from None
        for field in attrs.fields(cls):
            if field.init:
                _require_form(field.type, f"{where}.{field.name}", seen)
    elif is_array(cls) or is_mapping(cls) or is_optional(cls):
        for argument in get_args(cls):
            if argument is not Ellipsis:
                _require_form(argument, where, seen)
        if is_mapping(cls) and get_args(cls)[:1] not in ((str,), ()):
            raise TypeError(f"{where} has keys that are not strings")
    elif cls not in SCALARS and not is_choice(cls):
        raise TypeError(f"{where} has the type {cls!r}, which has no JSON form here")


def is_array(cls: Any) -> bool:
    """Whether the JSON form of a type is an array."""
    return (get_origin(cls) or cls) in ARRAYS


def is_fixed_tuple(cls: Any) -> bool:
    """Whether a type is a tuple with a type for each place."""
    arguments = get_args(cls)
    return (get_origin(cls) or cls) is tuple and bool(arguments) and arguments[-1] is not Ellipsis


def is_mapping(cls: Any) -> bool:
    """Whether a type is a dictionary of values of one type."""
    return (get_origin(cls) or cls) in (dict, Mapping)


def is_optional(cls: Any) -> bool:
    """Whether a type is another one or None."""
    arguments = get_args(cls)
    return get_origin(cls) in (Union, UnionType) and len(arguments) == 2 and NoneType in arguments


def is_choice(cls: Any) -> bool:
    """Whether a type is an enumeration or a ``Literal``."""
    if get_origin(cls) is Literal:
        return True
    return isinstance(cls, type) and issubclass(cls, Enum)


def _build_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(int, _scalar(_strict_integer))
    converter.register_structure_hook(float, _scalar(_strict_number))
    converter.register_structure_hook(str, _scalar(_strict_string))
    converter.register_structure_hook(bool, _scalar(_strict_boolean))
    converter.register_structure_hook_func(lambda cls: cls is NoneType, _strict_null)
    converter.register_structure_hook_factory(is_array, _strict_array)
    converter.register_structure_hook_factory(is_mapping, _strict_mapping)
    converter.register_structure_hook_factory(is_choice, _strict_choice)
    converter.register_structure_hook_factory(attrs.has, _strict_object)
    return converter


_converter = _build_converter()
