"""A proof type with a parameter of every supported type, whose result is its parameters."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from typing import Annotated, Any, Literal, NewType

import attrs
from attrs import field, frozen
from attrs.validators import ge, le

from prover_framework import JsonType, ProofType, RangeParameters, Wei, hookimpl

PROVER_API = 1

FractionText = Annotated[
    Fraction,
    JsonType(
        via=str,
        read=Fraction,
        write=str,
        samples=(Fraction(0), Fraction(-1, 3)),
        schema={"pattern": r"^-?[0-9]+(?:/[1-9][0-9]*)?$"},
    ),
]
NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)
DAY = date(2024, 5, 31)
Blocks = NewType("Blocks", int)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(Enum):
    NUMBER = 1
    TEXT = "1"
    RATIO = 0.5
    WHOLE = 2.0


@frozen(kw_only=True)
class Call:
    """One arm of a union."""

    kind: Literal["call"] = "call"
    strike: Wei


@frozen(kw_only=True)
class Put:
    """The other arm."""

    kind: Literal["put"] = "put"
    strikes: tuple[Decimal, ...] = ()


@frozen(kw_only=True)
class Node:
    """A class within itself, with a name that only the constructor has."""

    _weight: float = 0.0
    children: "tuple[Node, ...]" = ()


@frozen(kw_only=True, slots=False)
class Values:
    """A field of every supported type."""

    yes: bool = False
    whole: int = 0
    bounded: int = field(default=3, validator=[ge(1), le(9)])
    ratio: float = 0.5
    text: str = ""
    nothing: None = None
    whole_or_not: int | None = None
    text_or_not: str | None = None
    wei_or_not: Wei | None = None
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    mixed: Mixed = Mixed.NUMBER
    literal: Literal["a", 2, True] = "a"
    items: list[int] = field(factory=list)
    many: tuple[float, ...] = ()
    pair: tuple[int, str] = (0, "")
    sequence: Sequence[str] = ()
    names: frozenset[str] = frozenset()
    colours: AbstractSet[Colour] = frozenset()
    table: dict[str, int] = field(factory=dict)
    tables: Mapping[str, tuple[Wei, ...]] = field(factory=dict)
    anything: Any = None
    node: Node = Node()
    wei: Wei = 0
    payload: bytes = b""
    price: Decimal = Decimal(0)
    moment: datetime = NOON
    day: date = DAY
    blocks: Blocks = Blocks(0)
    fraction: FractionText = Fraction(1, 2)
    option: Call | Put = Put()
    options: tuple[Call | Put, ...] = ()
    option_or_not: Call | Put | None = None


@frozen(kw_only=True)
class Parameters(Values, RangeParameters):
    """What to echo."""


@frozen(kw_only=True)
class Result(Values):
    """The echo.

    Args:
        echo: The number.
    """

    echo: Wei


@hookimpl
def proof_type() -> ProofType[Parameters, Result]:
    return ProofType(name="echo", title="Echo", version="1", parameters=Parameters, result=Result)


@hookimpl
def compute(parameters: Parameters) -> Result:
    names = [attribute.name for attribute in attrs.fields(Values)]
    return Result(echo=2**200, **{name: getattr(parameters, name) for name in names})
