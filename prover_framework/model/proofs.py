"""What a proof type is, and what is asked of it.

Everything here is frozen; the JSON forms are in `prover_framework.serialization.converter`.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Generic, TypeVar

from attrs import Attribute, field, frozen
from attrs.validators import and_, deep_iterable, ge, instance_of, le, matches_re, optional

from prover_framework.model.limits import Limits, is_integer
from prover_framework.model.names import (
    DEFAULT_QUEUE,
    KIND_NAME,
    MAX_INT64,
    MAX_TITLE_LENGTH,
    PROOF_TYPE_NAME,
    QUEUE_NAME,
)
from prover_framework.model.resources import Resources, require_resources
from prover_framework.model.series import HOUR_SECONDS, TimeRange
from prover_framework.serialization.types import LongInteger

# The API version of the hooks, which a plugin's module states as `PROVER_API`. It rises when a hook
# changes in a way that breaks plugins; arguments that are only added do not raise it (pluggy passes
# what is asked for).
API_VERSION = 1


# A job that is held back for longer is a mistake; times in milliseconds have to fit their columns.
MAX_DELAY_SECONDS = 366 * 24 * HOUR_SECONDS


def _starts_before_end(instance: "RangeParameters", _: "Attribute[int]", value: int) -> None:
    if instance.start_timestamp >= value:
        raise ValueError(f"must be after start_timestamp ({instance.start_timestamp}), got {value}")


@frozen(kw_only=True)
class RangeParameters:
    """Parameters of a proof over a time range; proof types with more of them inherit from this.

    Args:
        start_timestamp: Unix seconds, 0..2^63-1, the first second of the range.
        end_timestamp: Unix seconds, after ``start_timestamp``, the first second after the range.
    """

    start_timestamp: LongInteger = field(validator=and_(ge(0), le(MAX_INT64)))
    end_timestamp: LongInteger = field(validator=and_(ge(0), le(MAX_INT64), _starts_before_end))

    @property
    def range(self) -> TimeRange:
        """The range as a value of its own."""
        return TimeRange(self.start_timestamp, self.end_timestamp)


@frozen
class Dispatch:
    """Where and when the message of a job goes.

    Args:
        queue: Name of a queue, letters, digits, ``_`` and ``-``; the settings say which queue that
            is.
        delay_seconds: How long to hold the job back, a year at the most.
    """

    queue: str = field(default=DEFAULT_QUEUE, validator=[instance_of(str), matches_re(QUEUE_NAME)])
    delay_seconds: int = field(default=0, validator=[is_integer, ge(0), le(MAX_DELAY_SECONDS)])


USUAL_DISPATCH = Dispatch()


def _line(_: object, attribute: "Attribute[Any]", value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"'{attribute.name}' must be a string, got {value!r}")
    if not 0 < len(value) <= MAX_TITLE_LENGTH or not value.isprintable() or value != value.strip():
        raise ValueError(
            f"'{attribute.name}' must be one line of 1 to {MAX_TITLE_LENGTH} printable characters, "
            f"got {value!r}"
        )


def _resources(_: object, __: "Attribute[Any]", value: object) -> None:
    require_resources(value)


P = TypeVar("P")


R = TypeVar("R")


@frozen
class Dependency:
    """A job of the same group whose result a proof rests on.

    Args:
        proof_type: Name of its proof type.
        label_from: Name of the parameter that holds the label of that job, a string; an empty one
            stands for the job without a label. None for always that one.
    """

    proof_type: str = field(validator=[instance_of(str), matches_re(PROOF_TYPE_NAME)])
    label_from: str | None = field(default=None, validator=optional(instance_of(str)))

    def job_id(self, parameters: object) -> str:
        """Return the id, in its group, of the job that is meant by some parameters."""
        label = "" if self.label_from is None else getattr(parameters, self.label_from)
        return job_id_of(self.proof_type, label or None)


def job_id_of(proof_type: str, label: str | None) -> str:
    """Return the id of a job in its group."""
    return proof_type if label is None else f"{proof_type}@{label}"


def split_job_id(job_id: str) -> tuple[str, str | None]:
    """Return the proof type and the label that a job's id in its group is made of."""
    proof_type, at, label = job_id.partition("@")
    return proof_type, label if at else None


@frozen(kw_only=True)
class ProofType(Generic[P, R]):
    """What a plugin registers.

    Args:
        name: The key in requests, messages and results, in snake case.
        title: What messages to people call it.
        version: Version of the method; it is part of the seed, so a change that moves the digits
            must raise it.
        parameters: attrs class of the parameters, at the best a `RangeParameters`.
        result: attrs class of the result; a field named like the proof type holds the number.
        required: Whether each job group must ask for this proof.
        limits: What one computation may use.
        generator: Name of the random number generator that the seed goes into; none when the
            computation draws nothing. It is part of what a receipt states.
        verifies: Older versions of the method whose statements this one can judge, besides its
            own: what they state means the same, whatever parameters were added since.
        depends_on: The jobs of the group whose results it rests on; it waits for them.
        settings: attrs class of settings of its own, each from the variable
            ``PROVER_PLUGIN__<NAME>__<FIELD>``; None where there are none. A field with
            ``metadata={"stated": True}`` can change the digits: receipts state it, and whoever
            verifies takes it from there. One with ``repr=False`` is a secret.
        resources: What a computation needs of a machine, ``{"gpu": 1}``: a worker that has less of
            it (``PROVER_WORKER_RESOURCES``) leaves the job to others.
    """

    name: str = field(validator=[instance_of(str), matches_re(PROOF_TYPE_NAME)])
    title: str = field(validator=_line)
    version: str = field(validator=_line)
    parameters: type[P]
    result: type[R]
    required: bool = field(default=False, validator=instance_of(bool))
    limits: Limits = field(default=Limits(), validator=instance_of(Limits))
    generator: str | None = field(default=None, validator=optional(_line))
    verifies: tuple[str, ...] = field(default=(), validator=deep_iterable(_line))
    depends_on: tuple[Dependency, ...] = field(
        default=(), validator=deep_iterable(instance_of(Dependency))
    )
    settings: type[Any] | None = None
    resources: Resources = field(factory=dict, validator=_resources)


# A succinct proof takes minutes to make and parts of a second to check.
MAKING_SECONDS = 3600.0


class SealShows(StrEnum):
    """What a seal shows, besides that nobody has changed what it is on."""

    VOUCHER = "voucher"
    """Who vouches for the receipt."""

    COMMITTED_DATA = "committed_data"
    """That the result follows by arithmetic from the data that the seal commits to."""

    FEES_HASH = "fees_hash"
    """That the result follows by arithmetic from the data of the on-chain fees hash."""


@frozen(kw_only=True)
class SealType:
    """A kind of seal on receipts, as a plugin registers it.

    Args:
        kind: Its name in receipts: lower-case letters, digits, ``_`` and ``-``.
        title: What messages to people call it.
        limits: What checking one seal may use.
        making: What making one may use, which is no part of its job: it is made after the result.
        shows: What a seal that holds shows; a verifier's sentence of strength is made from it.
    """

    kind: str = field(validator=[instance_of(str), matches_re(KIND_NAME)])
    title: str = field(validator=_line)
    limits: Limits = field(default=Limits(), validator=instance_of(Limits))
    making: Limits = field(default=Limits(MAKING_SECONDS), validator=instance_of(Limits))
    shows: SealShows = field(default=SealShows.VOUCHER, validator=instance_of(SealShows))


@frozen
class JobRequest:
    """One proof that somebody asks for.

    Args:
        proof_type: Name of the proof type.
        parameters: An instance of its parameter class.
        label: Tells it from others of its type in the group; none for the one without.
    """

    proof_type: str
    parameters: Any
    label: str | None = None

    @property
    def job_id(self) -> str:
        """Its id in the group."""
        return job_id_of(self.proof_type, self.label)


@frozen
class GroupRequest:
    """Proofs that are asked for together under one id, which is also the idempotency key."""

    group_id: str
    jobs: Sequence[JobRequest]
