"""Kinds of input data: what a computation asks for, is given, and states of it.

A kind of data is one object, an `InputKind`. A plugin registers it by its hook ``input_kind``; the
framework's own come through the same hook (`prover_framework.inputs`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import attrs
from attrs import field, frozen
from attrs.validators import instance_of, matches_re

from prover_framework.model.limits import Limits
from prover_framework.model.names import INPUT_NAME, KIND_NAME
from prover_framework.model.verdict import Verdict
from prover_framework.serialization.json_text import Json

N = TypeVar("N")
D = TypeVar("D")
F = TypeVar("F")
E = TypeVar("E")


def input_names(_: object, attribute: "attrs.Attribute[Any]", value: Mapping[str, Any]) -> None:
    """Require that the keys of a mapping are names of inputs, as a validator."""
    for name in value:
        if not re.fullmatch(INPUT_NAME, name):
            raise ValueError(f"'{attribute.name}': {name!r} is no name of an input: {INPUT_NAME}")


@frozen
class Need:
    """Data that a computation needs; the framework loads it.

    Args:
        kind: Name of the kind of data.
        query: What is wanted of it: the JSON form of the kind's class of needs.
    """

    kind: str = field(validator=[instance_of(str), matches_re(KIND_NAME)])
    query: dict[str, Any] = field(validator=instance_of(dict))


@frozen(kw_only=True)
class Needs:
    """What the hook ``inputs`` answers: the needs of a computation, by names of its own."""

    needs: dict[str, Need] = field(validator=input_names)


class Inputs(Mapping[str, Any]):
    """The data that a computation is given, under the names that it gave its needs.

    Args:
        data: Each an instance of its kind's class of data.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = dict(data)

    def __getitem__(self, name: str) -> Any:
        try:
            return self._data[name]
        except KeyError:
            there = ", ".join(self._data) or "none"
            raise KeyError(f"there is no input {name!r} (there are: {there})") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return f"Inputs({', '.join(self._data)})"


@frozen
class Chain:
    """The chain that some data is of.

    Args:
        chain_id: Its id (EIP-155); none where the data is of no one chain.
        simulated: Whether it is a simulation. Such data settles nothing.
    """

    chain_id: int | None
    simulated: bool


@frozen
class LoadedData(Generic[D, E]):
    """What loading came to.

    Args:
        data: What the computation is given.
        evidence: What shows others that the data is what it says; it goes beside the statement,
            which binds it by its digest. None where the kind has none.
        provenance: Where the data came from, for people; nobody who checks relies on it.
    """

    data: D
    evidence: E | None = None
    provenance: dict[str, Any] = field(factory=dict)


@frozen
class Checked(Generic[D]):
    """What evidence shows.

    Args:
        verdict: Whether it shows what is stated.
        data: The data that it is evidence of, so that whoever has no source of his own can compute
            from it; None where the verdict is a refusal.
    """

    verdict: Verdict
    data: D | None = None


class InputKind(Generic[N, D, F, E]):
    """A kind of data. Inherit, state the class attributes, and write `load` and `facts`.

    All but `load` is pure and runs in a sandbox process of the plugin that registered the kind:
    where a job is computed, and again where its receipt is verified. `load` runs in a process of
    its own, which has the network and the kind's own settings, and nothing of the service.

    Attributes:
        name: Name of the kind: lower-case letters, digits, ``_`` and ``-``.
        version: Version of what its facts, digests and checks mean; receipts state it.
        need_type: attrs class of what can be asked for.
        data_type: attrs class of the data, at the top level of a module.
        facts_type: attrs class of what a statement says of the data.
        evidence_type: attrs class of the evidence; None where there is none.
        settings_type: attrs class of the kind's own settings, each from the variable
            ``PROVER_PLUGIN__<NAME>__<FIELD>``; None where there are none.
        has_seed_part: Whether its data takes part in the seed. Where whoever runs a job can choose
            among data (which of several signed quotes, say), it must not, and only proof types
            that draw nothing can use the kind.
        limits: What one load, or one check, may use.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    need_type: type[N]
    data_type: type[D]
    facts_type: type[F]
    evidence_type: type[E] | None = None
    settings_type: ClassVar[type[Any] | None] = None
    has_seed_part: ClassVar[bool] = True
    limits: ClassVar[Limits] = Limits(seconds=60.0, memory_bytes=2 * 2**30)

    def load(self, need: N, settings: Any) -> LoadedData[D, E]:
        """Load what is asked for.

        Raises:
            ProofError: It will never be there.
            DataNotYet: It is not there yet; the job waits.
        """
        raise NotImplementedError

    def facts(self, data: D) -> F:
        """Return what a statement says of data: enough to tell it from any other."""
        raise NotImplementedError

    def canonical(self, data: D) -> bytes | None:
        """Return the bytes whose SHA-256 a statement gives; None for the canonical JSON."""
        del data
        return None

    def chain(self, data: D) -> Chain | None:
        """Return the chain that data is of; None where it is of none."""
        del data
        return None

    def seed_part(self, facts: F) -> dict[str, Json] | None:
        """Return what of the facts takes part in the seed; None for all of them.

        It may hold nothing that whoever runs a job can choose.
        """
        del facts
        return None

    def compare(self, facts: F, own: D) -> Verdict:
        """Judge stated facts by the verifier's own data."""
        return compare_facts(facts, self.facts(own))

    def answers(self, need: N, facts: F) -> Verdict:
        """Judge whether stated facts are of what was asked for; a kind with evidence needs it.

        Evidence alone shows that somebody vouches for some data. A quote of another pair, or of
        another day, is vouched for as well.
        """
        raise NotImplementedError

    def check(self, facts: F, evidence: E, settings: Any) -> Checked[D]:
        """Judge stated facts by the evidence that came with them; a kind with evidence needs it.

        Args:
            facts: What is stated.
            evidence: What came with it.
            settings: Those of whoever checks: the keys that he pins, for example.
        """
        raise NotImplementedError


def compare_facts(stated: F, ours: F) -> Verdict:
    """Judge stated facts by our own, field by field."""
    cls: Any = type(ours)
    for name in (attribute.name for attribute in attrs.fields(cls)):
        theirs, here = getattr(stated, name), getattr(ours, name)
        if theirs != here:
            return Verdict(
                accepted=False, reason=f"{name}: it is stated as {theirs}, and here is {here}"
            )
    return Verdict(accepted=True, reason="as here")
