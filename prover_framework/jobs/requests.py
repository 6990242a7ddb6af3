"""Requests and queue messages: read from JSON, and written.

Everything that is wrong with a document is reported at once, each problem with its path.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, cast

from prover_framework.errors import NoExactForm, PluginError, Problem, RequestError
from prover_framework.jobs.messages import (
    SPAN_FIELDS,
    JobMessage,
    not_understood,
)
from prover_framework.model.moments import not_seconds
from prover_framework.model.names import GROUP_ID, GROUP_ID_KEY, GROUP_ID_RULE, JOB_ID
from prover_framework.model.proofs import (
    GroupRequest,
    JobRequest,
    ProofType,
    RangeParameters,
    split_job_id,
)
from prover_framework.receipts.canonical import require_stated
from prover_framework.receipts.documents import MAX_MEMBERS
from prover_framework.serialization.converter import structure
from prover_framework.serialization.defaults import unstructure_given
from prover_framework.serialization.json_text import Json, dump_json, parse_json
from prover_framework.serialization.objections import capped, enough
from prover_framework.text import describe, describe_error, quote

# What is told of a proof type that a request leaves out: the setting says which ones these are.
REQUIRED = "is required (PROVER_REQUIRED)"

LABEL_RULE = (
    "has a label that is none: 1 to 32 lower-case letters, digits and '_' behind one '@', and 63 "
    "characters in all"
)


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
    asked = len(document) - (GROUP_ID_KEY in document)
    if asked > MAX_MEMBERS:
        # Its receipt could not be verified, and each list that it stands in has all of its jobs.
        problems.append(
            Problem(
                "", f"the request asks for {asked} proofs, and a group has {MAX_MEMBERS} at most"
            )
        )
        raise RequestError(problems, _usable(group_id))
    jobs: list[JobRequest] = []
    for key, value in document.items():
        if enough(problems):
            break
        if key == GROUP_ID_KEY:
            continue
        name, label = split_job_id(key)
        proof_type = proof_types.get(name)
        if proof_type is None:
            problems.append(Problem(quote(key), _not_installed(proof_types)))
            continue
        if label is not None and not re.fullmatch(JOB_ID, key):
            problems.append(Problem(quote(key), LABEL_RULE))
            continue
        try:
            parameters = structure(value, proof_type.parameters, key)
            if stated := stated_form(parameters):
                require_stated(stated, key)
            problems.extend(_not_in_seconds(parameters, f"{key}."))
            jobs.append(JobRequest(name, parameters, label))
        except RequestError as error:
            problems.extend(error.problems)
        except NoExactForm as error:
            problems.append(Problem("", str(error)))
        except (Exception, SystemExit) as error:
            # What a class does when it is made is the plugin's code.
            raise PluginError(
                f"proof type {key}: making its parameters raised {describe_error(error)}"
            ) from error
    for name, proof_type in sorted(proof_types.items()):
        if proof_type.required and name not in document:
            problems.append(Problem(name, REQUIRED))
    if not problems:
        problems.extend(_dependency_problems(jobs, proof_types))
    if not problems and not jobs:
        problems.append(
            Problem("", f"the request asks for no proof (installed: {_names(proof_types)})")
        )
    if problems:
        raise RequestError(capped(problems), _usable(group_id))
    return GroupRequest(cast(str, group_id), tuple(jobs))


def _usable(group_id: object) -> str | None:
    """Return the id that a request has, where it has one."""
    return group_id if isinstance(group_id, str) and GROUP_ID.fullmatch(group_id) else None


def dependencies_of(
    job: JobRequest, proof_types: Mapping[str, ProofType[Any, Any]]
) -> tuple[str, ...]:
    """Return the ids, in the group, of the jobs that one rests on, each once.

    Raises:
        PluginError: The proof type is not installed, or names a parameter that is no label.
    """
    proof_type = proof_types.get(job.proof_type)
    if proof_type is None:
        raise PluginError(f"{job.proof_type} {_not_installed(proof_types)}")
    if not proof_type.depends_on:
        return ()
    try:
        ids = [each.job_id(job.parameters) for each in proof_type.depends_on]
    except (AttributeError, TypeError) as error:
        raise PluginError(f"proof type {job.proof_type}: depends_on: {error}") from None
    return tuple(dict.fromkeys(ids))


def _dependency_problems(
    jobs: Sequence[JobRequest], proof_types: Mapping[str, ProofType[Any, Any]]
) -> Iterator[Problem]:
    """Yield what is wrong with the dependencies of a group's jobs: what is missing, and circles."""
    rests_on = {job.job_id: dependencies_of(job, proof_types) for job in jobs}
    if not any(rests_on.values()):
        return
    for job_id, needed in rests_on.items():
        for missing in (other for other in needed if other not in rests_on):
            yield Problem(job_id, f"rests on {quote(missing)}, which the request does not ask for")
    try:
        TopologicalSorter(rests_on).prepare()
    except CycleError as error:
        circle = " on ".join(reversed(error.args[1]))
        yield Problem("", f"jobs rest on each other in a circle: {circle}")


def stated_form(parameters: object) -> dict[str, Json]:
    """Return the JSON form of parameters as a receipt states them.

    It is without what has its default, so that a parameter that is added with one changes nothing;
    and without the range, which is stated in whole hours.
    """
    if type(parameters) is RangeParameters:
        # It has nothing else, and most are of this class.
        return {}
    form = unstructure_given(parameters)
    if isinstance(parameters, RangeParameters):
        return {key: value for key, value in form.items() if key not in SPAN_FIELDS}
    return form


def dump_parameters(parameters: object) -> str:
    """Write parameters as JSON text, without defaults; equal parameters give equal text."""
    return dump_json(unstructure_given(parameters))


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
        raise not_understood([*problems, Problem("job_id", refusal)])
    given = {name: getattr(message, name) for name in SPAN_FIELDS}
    form = {name: value for name, value in given.items() if value is not None}
    parameters = None
    try:
        parameters = structure(form, proof_type.parameters)
        require_stated(stated_form(parameters), message.job_id)
        problems.extend(_not_in_seconds(parameters, ""))
    except NoExactForm as error:
        problems.append(Problem("", str(error)))
    except RequestError as error:
        problems.extend(error.problems)
    if problems:
        raise not_understood(problems)
    return JobRequest(message.job_id, parameters)


def _not_in_seconds(parameters: object, where: str) -> Iterator[Problem]:
    """Yield the ends of a range that are in another unit: nobody waits for the year 50,000."""
    if isinstance(parameters, RangeParameters):
        for name in SPAN_FIELDS:
            if complaint := not_seconds(getattr(parameters, name)):
                yield Problem(f"{where}{name}", complaint)


def _bad_group_id(group_id: str) -> Problem:
    return Problem(GROUP_ID_KEY, f"must be {GROUP_ID_RULE}, got {describe(group_id)}")


def _not_installed(proof_types: Mapping[str, ProofType[Any, Any]]) -> str:
    return f"is not an installed proof type (installed: {_names(proof_types)})"


def _names(proof_types: Mapping[str, ProofType[Any, Any]]) -> str:
    return ", ".join(sorted(proof_types)) or "none"
