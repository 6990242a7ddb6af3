"""A result as its page shows it: the number itself, and what explains it."""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from prover_framework.model.proofs import split_job_id
from prover_framework.plugins.catalogue import Catalogue, ProofTypeView
from prover_framework.receipts.evidence import EVIDENCE
from prover_framework.text import iso_utc
from prover_framework.web.pages.rendering import GWEI, exact_text, number_text, object_of

# Unix seconds from 2001 to 2286: a number of a field with such a name is a time.
TIME_FIELDS = ("_timestamp", "_hour", "_at")
EARLIEST, LATEST = 10**9, 10**10

# A result that is larger is not read as a table; the JSON has it all.
MAX_FACTS = 200


@frozen(kw_only=True)
class Fact:
    """One value of a result.

    Args:
        name: Its name, with those of the objects that it stands in.
        value: What it is, exactly.
        time: The time that it is, in ISO 8601; None where it is none.
        note: What the proof type says of it.
    """

    name: str
    value: str
    time: str | None
    note: str


@frozen(kw_only=True)
class Headline:
    """The number of a result.

    Args:
        text: For people.
        unit: What it is in; empty where it has no unit.
        exact: With all its digits, as the receipt has it.
    """

    text: str
    unit: str
    exact: str


class ResultTexts:
    """Shows results with what is said of them by the proof types that are installed."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._types = {each.name: each for each in catalogue.proof_types}

    @property
    def titles(self) -> Mapping[str, str]:
        """What people call the proof types that are installed."""
        return {name: known.title for name, known in self._types.items()}

    def title(self, job_id: str) -> str:
        """Return what people call a job."""
        name, label = split_job_id(job_id)
        known = self._types.get(name)
        title = known.title if known else name
        return f"{title} ({label})" if label else title

    def proof_type(self, job_id: str) -> ProofTypeView | None:
        """Return the proof type of a job, if it is installed."""
        return self._types.get(split_job_id(job_id)[0])

    def headline(self, job_id: str, result: object) -> Headline | None:
        """Return the number of a result, which stands under the name of its proof type."""
        name = split_job_id(job_id)[0]
        value = object_of(result).get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if " wei" not in self._note(name, name):
            return Headline(text=number_text(value), unit="", exact=exact_text(value))
        if abs(value) >= GWEI / 1000:
            gwei = f"{value / GWEI:,.6f}".rstrip("0").rstrip(".")
            return Headline(text=gwei, unit="gwei", exact=f"{exact_text(value)} wei")
        return Headline(text=number_text(value), unit="wei", exact=f"{exact_text(value)} wei")

    def facts(self, job_id: str, result: object) -> tuple[Fact, ...]:
        """Return the values of a result, without what it was made from."""
        name = split_job_id(job_id)[0]
        own = {key: value for key, value in object_of(result).items() if key != EVIDENCE}
        found: list[Fact] = []
        for place, value in _values(own, ()):
            if len(found) == MAX_FACTS:
                break
            found.append(
                Fact(
                    name=".".join(place),
                    value=exact_text(value),
                    time=_time(place[-1], value),
                    note=self._note(name, *place),
                )
            )
        return tuple(found)

    def _note(self, proof_type: str, *place: str) -> str:
        known = self._types.get(proof_type)
        schema: Any = known.result if known else {}
        root = object_of(schema)
        note = ""
        for step in place:
            schema = object_of(object_of(_resolved(root, schema).get("properties")).get(step))
            note = str(schema.get("description", note))
        return note


def _resolved(root: Mapping[str, Any], schema: object) -> Mapping[str, Any]:
    found = object_of(schema)
    reference = found.get("$ref")
    if isinstance(reference, str):
        return object_of(object_of(root.get("$defs")).get(reference.rpartition("/")[2]))
    return found


def _values(
    value: Mapping[str, Any], place: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, each in value.items():
        if isinstance(each, dict) and each:
            yield from _values(each, (*place, key))
        else:
            yield (*place, key), each


def _time(name: str, value: object) -> str | None:
    if name.endswith(TIME_FIELDS) and type(value) is int and EARLIEST <= value < LATEST:
        return iso_utc(value * 1000)
    return None
