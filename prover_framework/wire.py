"""The JSON forms of the framework's types, in one place.

Nothing is coerced on the way in: ``"5"`` and ``true`` are not integers here. Everything that is
wrong with a document is reported at once, each problem with its path.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import attrs
import cattrs
from attrs import frozen

from prover_framework.errors import MessageError, Problem, RequestError
from prover_framework.jsontext import Json, describe, dump_json, parse_json, quote
from prover_framework.model import GroupRequest, JobRequest, ProofType

T = TypeVar("T")

GROUP_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
GROUP_ID_RULE = "1 to 128 letters, digits, '.', '_', ':' or '-'"
GROUP_ID_KEY = "job_group_id"

# A body full of mistakes must not give an answer as long as itself.
MAX_PROBLEMS = 20

MESSAGE_VERSION = 1


def structure(value: Json, cls: type[T], where: str = "") -> T:
    """Turn a JSON value into an instance of ``cls``.

    Raises:
        RequestError: The value does not fit; every problem carries its path below ``where``.
    """
    try:
        return _converter.structure(value, cls)
    except RequestError as error:
        raise RequestError([_below(where, problem) for problem in error.problems]) from None
    except cattrs.IterableValidationError as group:
        raise RequestError(_iterable_problems(group, where)) from None
    except (ValueError, TypeError) as error:
        raise RequestError([Problem(where, str(error))]) from None


def unstructure(value: object) -> Json:
    """Turn an instance of one of the framework's or a plugin's types into its JSON form."""
    return cast(Json, _converter.unstructure(value))


def parse_group_request(
    body: bytes, proof_types: Mapping[str, ProofType[Any, Any]]
) -> GroupRequest:
    """Read the body of ``POST /api/job``.

    Args:
        body: The bytes as received.
        proof_types: The installed proof types by name.

    Raises:
        RequestError: All problems of the body; its ``group_id`` is set where the body has one.
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
        problems.append(Problem(GROUP_ID_KEY, f"must be {GROUP_ID_RULE}, got {describe(group_id)}"))
    jobs: list[JobRequest] = []
    installed = ", ".join(sorted(proof_types)) or "none"
    for key, value in document.items():
        if key == GROUP_ID_KEY:
            continue
        proof_type = proof_types.get(key)
        if proof_type is None:
            problems.append(
                Problem(quote(key), f"is not an installed proof type (installed: {installed})")
            )
            continue
        try:
            jobs.append(JobRequest(key, structure(value, proof_type.parameters, key)))
        except RequestError as error:
            problems.extend(error.problems)
    for name, proof_type in sorted(proof_types.items()):
        if proof_type.required and name not in document:
            problems.append(Problem(name, "is required"))
    if not problems and not jobs:
        problems.append(Problem("", f"the request asks for no proof (installed: {installed})"))
    if problems:
        raise RequestError(
            capped(problems),
            group_id if isinstance(group_id, str) and GROUP_ID.fullmatch(group_id) else None,
        )
    return GroupRequest(cast(str, group_id), tuple(jobs))


def capped(problems: list[Problem]) -> list[Problem]:
    """Keep the first problems and say how many more there were."""
    if len(problems) <= MAX_PROBLEMS:
        return problems
    more = len(problems) - MAX_PROBLEMS
    return [*problems[:MAX_PROBLEMS], Problem("", f"and {more} more problems")]


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
        known = {field.name for field in attrs.fields(JobMessage)}
        return structure({k: v for k, v in document.items() if k in known}, JobMessage)
    except RequestError as error:
        raise MessageError(str(error)) from None


def _below(where: str, problem: Problem) -> Problem:
    if not where or not problem.where:
        return Problem(where or problem.where, problem.what)
    joint = "" if problem.where.startswith("[") else "."
    return Problem(f"{where}{joint}{problem.where}", problem.what)


def _iterable_problems(group: cattrs.IterableValidationError, where: str) -> list[Problem]:
    problems: list[Problem] = []
    noted, others = group.group_exceptions()
    for error, note in noted:
        place = f"{where}[{note.index!r}]"
        if isinstance(error, RequestError):
            problems.extend(_below(place, problem) for problem in error.problems)
        elif isinstance(error, cattrs.IterableValidationError):
            problems.extend(_iterable_problems(error, place))
        else:
            problems.append(Problem(place, str(error)))
    problems.extend(Problem(where, str(error)) for error in others)
    return problems


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
        # Validators may look at earlier fields; they see an instance that has just these.
        partial = object.__new__(cls)
        arguments: dict[str, Any] = {}
        for key, field in fields.items():
            if key not in value:
                if field.default is attrs.NOTHING:
                    problems.append(Problem(key, "is required"))
                continue
            try:
                argument = structure(value[key], field.type, key)
                object.__setattr__(partial, field.name, argument)
                if field.validator is not None:
                    field.validator(partial, field, argument)
                arguments[key] = argument
            except RequestError as error:
                problems.extend(error.problems)
            except AttributeError:
                if not problems:
                    raise
                # The validator wanted an earlier field, which has a problem of its own.
            except (ValueError, TypeError) as error:
                problems.append(Problem(key, _validator_message(error, field.name)))
        if problems:
            raise RequestError(capped(problems))
        try:
            return cls(**arguments)
        except (ValueError, TypeError) as error:
            raise RequestError([Problem("", str(error))]) from None

    return hook


def _validator_message(error: Exception, name: str) -> str:
    """Cut the field's name off attrs' messages: the problem's path has it already."""
    message = str(error.args[0]) if error.args else str(error)
    message = re.sub(r"(?<!\d)\d{41,}(?!\d)", lambda number: f"{number[0][:20]}...", message)
    return message.removeprefix(f"'{name}' ")


def _build_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    converter.register_structure_hook(int, _strict_integer)
    converter.register_structure_hook(float, _strict_number)
    converter.register_structure_hook(str, _strict_string)
    converter.register_structure_hook(bool, _strict_boolean)
    converter.register_structure_hook_factory(attrs.has, _strict_object)
    return converter


_converter = _build_converter()
