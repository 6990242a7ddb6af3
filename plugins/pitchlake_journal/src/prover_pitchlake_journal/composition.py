"""From three receipts to the journal, or to the reason why there is none.

A journal has room for one hash and one range and for no label, so what it leaves out has to be
known: which hours the other numbers are of, which chain, which method. Hence the preconditions.

It is made from the statements alone and not from their provenance: the same statements give the
same bytes, whoever computed them and wherever the headers came from. So it says nothing of blocks;
that the fees are the chain's is for the receipts' verification to show.
"""

from collections.abc import Mapping, Sequence

from prover_framework import (
    HOUR_SECONDS,
    GroupReceipts,
    SeriesFacts,
    StatedInput,
    Statement,
    felt_from_float,
)
from prover_framework.errors import ProverError
from prover_pitchlake_journal.errors import (
    ChainsDiffer,
    EndsDiffer,
    FeesDiffer,
    HoursUnreadable,
    JournalRefused,
    MethodUnknown,
    NumberNegative,
    NumberTooLarge,
    NumberUnreadable,
    ProofMissing,
    RangeOutside,
    SimulatedChain,
    WindowUnexpected,
)
from prover_pitchlake_journal.journal import Journal

TWAP = "twap"
RESERVE_PRICE = "reserve_price"
MAX_RETURN = "max_return"

# What each of them calls its data, and the kind of that.
HOURS = "hourly_base_fee"

# The versions of the methods whose numbers the market settles by. A method that gives other digits
# has another version, and then its number under an old name would be a silent change of the rules.
METHODS = {TWAP: "1", RESERVE_PRICE: "3", MAX_RETURN: "1"}

# A round of the market is 30 days, and the journal does not say which window a return is over.
WINDOW_HOURS = 720

# The tolerances of the market's reference implementation. They are part of its journal; what is
# computed here is well within them.
FLOATING_POINT_TOLERANCE = 0.00001
RESERVE_PRICE_TOLERANCE = 5.0
TWAP_TOLERANCE = 1.0
GRADIENT_TOLERANCE = 0.05


def compose_journal(group: GroupReceipts) -> Journal | None:
    """Return the journal of a finished group; None if the group is about other proofs entirely.

    Start and end are those of the reserve price's hours: a range that is not on the hour is
    rounded down as everywhere, and the journal says which hours were used, not what was asked for.

    Raises:
        JournalRefused: A precondition does not hold; its class and message say which.
    """
    found = {name: receipt.statement for name in METHODS if (receipt := group.of(name))}
    if not found:
        return None
    _require_agreement(found)
    max_return, reserve_price = found[MAX_RETURN], found[RESERVE_PRICE]
    numbers = {name: _felt_of(statement) for name, statement in found.items()}
    try:
        return Journal(
            data_8_months_hash=_hours_of(max_return).fees_hash,
            start_timestamp=_hours_of(reserve_price).first_hour,
            end_timestamp=_end_of(reserve_price),
            reserve_price=numbers[RESERVE_PRICE],
            floating_point_tolerance=felt_from_float(FLOATING_POINT_TOLERANCE),
            reserve_price_tolerance=felt_from_float(RESERVE_PRICE_TOLERANCE),
            twap_tolerance=felt_from_float(TWAP_TOLERANCE),
            gradient_tolerance=felt_from_float(GRADIENT_TOLERANCE),
            twap_result=numbers[TWAP],
            max_return=numbers[MAX_RETURN],
        )
    except ValueError as error:
        # The service makes no such statements; somebody else's receipt may hold anything.
        raise JournalRefused(f"the receipts do not fit into a journal: {error.args[0]}") from None


def _require_agreement(found: Mapping[str, Statement]) -> None:
    """Require that three statements are about what a journal of theirs would stand for."""
    if missing := [name for name in METHODS if name not in found]:
        raise ProofMissing(
            f"there is no receipt of {_listed(missing)}: a journal needs those of "
            f"{_listed(METHODS)}"
        )
    if simulated := [name for name, statement in found.items() if statement.simulated]:
        raise SimulatedChain(
            f"{_listed(simulated)}: computed from a simulated chain. Such numbers settle nothing, "
            "and a journal has no place to say so"
        )
    if len({_chain_of(statement) for statement in found.values()}) > 1:
        chains = (f"{name} about {_chain_of(statement)}" for name, statement in found.items())
        raise ChainsDiffer(f"the proofs are about different chains: {', '.join(chains)}")
    for name, statement in found.items():
        if statement.method_version != METHODS[name]:
            raise MethodUnknown(
                f"{name} was computed by version {statement.method_version!r} of its method, and "
                f"the market settles by version {METHODS[name]!r}: this journal and that plugin "
                "do not go together"
            )
    window = found[MAX_RETURN].parameters.get("window_hours", WINDOW_HOURS)
    if window != WINDOW_HOURS:
        raise WindowUnexpected(
            f"{MAX_RETURN} is over a window of {window!r} hours, and a round of the market has "
            f"{WINDOW_HOURS}"
        )
    _require_ranges(found)


def _require_ranges(found: Mapping[str, Statement]) -> None:
    if len({_end_of(statement) for statement in found.values()}) > 1:
        ends = (f"{name} at {_end_of(statement)}" for name, statement in found.items())
        raise EndsDiffer(f"the ranges do not end together: {', '.join(ends)}")
    whole = _hours_of(found[MAX_RETURN])
    for name in (TWAP, RESERVE_PRICE):
        series = _hours_of(found[name])
        if series.first_hour < whole.first_hour:
            raise RangeOutside(
                f"{name} begins at {series.first_hour}, before {MAX_RETURN} at {whole.first_hour}: "
                f"the journal's hash is that of the hours of {MAX_RETURN}, and all others have to "
                "be among them"
            )
        # Of a part of the hours a hash says nothing; whoever has the headers can check that.
        if series.first_hour == whole.first_hour and series.fees_hash != whole.fees_hash:
            raise FeesDiffer(
                f"{name} and {MAX_RETURN} are about the same hours and used different fees: "
                "headers were replaced in between. Submit the group again under a new id"
            )


def _felt_of(statement: Statement) -> int:
    """Return the number that a statement is about, as a felt."""
    name = statement.proof_type
    number = statement.result.get(name)
    # Canonical JSON writes a double without a fraction as an integer.
    if not isinstance(number, int | float) or isinstance(number, bool) or number != number:
        raise NumberUnreadable(f"the result of {name} does not hold its number")
    if number < 0:
        raise NumberNegative(f"{name} is {number}: a journal holds no negative numbers")
    try:
        return felt_from_float(float(number))
    except (ValueError, OverflowError):
        raise NumberTooLarge(f"{name} is 2^123 or more: a journal has no room for it") from None


def _end_of(statement: Statement) -> int:
    return _hours_of(statement).last_hour + HOUR_SECONDS


def _chain_of(statement: Statement) -> int | None:
    return _input_of(statement).chain_id


def _hours_of(statement: Statement) -> SeriesFacts:
    """Return which hours a statement is about."""
    try:
        return _input_of(statement).facts_as(SeriesFacts)
    except ProverError as error:
        raise HoursUnreadable(
            f"the hours of {statement.proof_type} cannot be read: {error}"
        ) from None


def _input_of(statement: Statement) -> StatedInput:
    stated = statement.inputs.get(HOURS)
    if stated is None or stated.kind != HOURS:
        raise HoursUnreadable(
            f"{statement.proof_type} does not state hourly base fees as its input {HOURS}"
        )
    return stated


def _listed(names: Sequence[str] | Mapping[str, str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
