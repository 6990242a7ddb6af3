"""Three receipts that agree make one journal; any that do not are refused with the reason."""

from itertools import permutations
from pathlib import Path

import prover_pitchlake_journal
import pytest
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st
from journal_samples import (
    END,
    MAX_RETURN,
    RESERVE_PRICE,
    TWAP,
    group,
    moved,
    of_chain,
    receipt,
    telling,
)
from prover_pitchlake_journal import compose, errors
from prover_pitchlake_journal.composition import compose_journal
from prover_pitchlake_journal.journal import Journal, content, decode, encode

from prover_framework import (
    HOUR_SECONDS,
    GroupReceipts,
    ProofError,
    Statement,
    felt_from_float,
)
from prover_framework.plugins import loading as plugins
from prover_framework.plugins.calls import Composer
from prover_framework.testing import ComposerConformance

DAY = 24 * HOUR_SECONDS

numbers = st.floats(min_value=0, max_value=2.0**123, exclude_max=True)


class TestConformance(ComposerConformance):
    plugin = prover_pitchlake_journal
    samples = (
        group(TWAP, RESERVE_PRICE, MAX_RETURN),
        group(MAX_RETURN, TWAP, telling(RESERVE_PRICE, 0.0)),
    )


def journal_of(*statements: Statement) -> Journal:
    journal = compose_journal(group(*statements))
    assert journal
    return journal


def test_a_round_makes_the_journal_of_its_three_numbers() -> None:
    assert journal_of(TWAP, RESERVE_PRICE, MAX_RETURN) == Journal(
        data_8_months_hash=(2160, 2, 3, 4, 5, 6, 7, 2**32 - 1),
        start_timestamp=END - 90 * DAY,
        end_timestamp=END,
        reserve_price=felt_from_float(1743019360.0),
        floating_point_tolerance=felt_from_float(0.00001),
        reserve_price_tolerance=felt_from_float(5.0),
        twap_tolerance=felt_from_float(1.0),
        gradient_tolerance=felt_from_float(0.05),
        twap_result=felt_from_float(13690325285.187069),
        max_return=felt_from_float(0.4885042293692916),
    )


def test_the_artefact_has_the_journal_decoded_and_as_bytes() -> None:
    [artefact] = compose(group(TWAP, RESERVE_PRICE, MAX_RETURN))
    assert (artefact.kind, artefact.version) == ("pitchlake_journal", "1")
    data = bytes.fromhex(artefact.data)
    assert data == encode(journal_of(TWAP, RESERVE_PRICE, MAX_RETURN))
    assert artefact.content == content(decode(data))
    assert artefact.content == {
        "data_8_months_hash": [2160, 2, 3, 4, 5, 6, 7, 2**32 - 1],
        "start_timestamp": END - 90 * DAY,
        "end_timestamp": END,
        "reserve_price": 1743019360.0,
        "floating_point_tolerance": 0.00001,
        "reserve_price_tolerance": 5.0,
        "twap_tolerance": 1.0,
        "gradient_tolerance": 0.05,
        "twap_result": 13690325285.187069,
        "max_return": 0.4885042293692916,
    }


def test_hash_and_range_are_those_of_different_proofs() -> None:
    """An earlier rule of the market has the max return over eight months."""
    longer = moved(
        MAX_RETURN, first_hour=END - 240 * DAY, hours=5760, fees_hash=[9, 8, 7, 6, 5, 4, 3, 2]
    )
    journal = journal_of(TWAP, RESERVE_PRICE, longer)
    assert journal.data_8_months_hash == (9, 8, 7, 6, 5, 4, 3, 2)
    assert (journal.start_timestamp, journal.end_timestamp) == (END - 90 * DAY, END)


def test_all_three_may_be_about_the_same_hours() -> None:
    same = evolve(TWAP, inputs=MAX_RETURN.inputs)
    assert journal_of(same, RESERVE_PRICE, MAX_RETURN).start_timestamp == END - 90 * DAY


def test_the_order_of_the_receipts_does_not_matter() -> None:
    made = {journal_of(*order) for order in permutations((TWAP, RESERVE_PRICE, MAX_RETURN))}
    assert len(made) == 1


def test_other_receipts_of_the_group_do_not_matter() -> None:
    other = evolve(of_chain(TWAP, 5, simulated=True), proof_type="volatility", result={})
    assert journal_of(other, TWAP, RESERVE_PRICE, MAX_RETURN) == journal_of(
        TWAP, RESERVE_PRICE, MAX_RETURN
    )


def test_where_a_number_came_from_does_not_matter() -> None:
    mine = group(TWAP, RESERVE_PRICE, MAX_RETURN)
    made = receipt(TWAP)
    elsewhere = evolve(
        made, provenance=evolve(made.provenance, inputs={"hourly_base_fee": {"last_block": 9}})
    )
    theirs = GroupReceipts(group_id="another", receipts=(elsewhere, *mine.receipts[1:]))
    assert compose_journal(mine) == compose_journal(theirs)


def test_fees_of_a_file_by_the_hour_will_do() -> None:
    by_hour = [moved(made, kind="hourly") for made in (TWAP, RESERVE_PRICE, MAX_RETURN)]
    assert journal_of(*by_hour) == journal_of(TWAP, RESERVE_PRICE, MAX_RETURN)


def test_a_group_of_other_proofs_is_left_alone() -> None:
    other = evolve(TWAP, proof_type="volatility")
    assert compose(group(other)) == []
    assert compose(group()) == []


@given(twap=numbers, reserve_price=numbers, max_return=numbers)
@example(0.0, -0.0, 5e-324)
def test_every_number_gets_into_its_own_place(
    twap: float, reserve_price: float, max_return: float
) -> None:
    journal = journal_of(
        telling(TWAP, twap), telling(RESERVE_PRICE, reserve_price), telling(MAX_RETURN, max_return)
    )
    assert journal.twap_result == felt_from_float(twap)
    assert journal.reserve_price == felt_from_float(reserve_price)
    assert journal.max_return == felt_from_float(max_return)


def test_a_whole_number_of_wei_is_the_number_that_it_is() -> None:
    # Canonical JSON writes the double 2e9 as 2000000000.
    assert journal_of(telling(TWAP, 2000000000), RESERVE_PRICE, MAX_RETURN) == journal_of(
        telling(TWAP, 2e9), RESERVE_PRICE, MAX_RETURN
    )


LATER = END + HOUR_SECONDS
ROUND = (TWAP, RESERVE_PRICE, MAX_RETURN)

REFUSED: list[tuple[type[errors.JournalRefused], str, tuple[Statement, ...]]] = [
    (
        errors.ProofMissing,
        "there is no receipt of twap: a journal needs those of twap, reserve_price and max_return",
        (RESERVE_PRICE, MAX_RETURN),
    ),
    (
        errors.ProofMissing,
        (
            "there is no receipt of twap and max_return: a journal needs those of "
            "twap, reserve_price and max_return"
        ),
        (RESERVE_PRICE,),
    ),
    *(
        (
            errors.SimulatedChain,
            (
                f"{named}: computed from a simulated chain. Such numbers settle nothing, and a "
                "journal has no place to say so"
            ),
            tuple(of_chain(made, 1, simulated=made.proof_type in named) for made in ROUND),
        )
        for named in ("twap", "reserve_price and max_return", "twap, reserve_price and max_return")
    ),
    (
        errors.ChainsDiffer,
        (
            "the proofs are about different chains: twap about 1, reserve_price about 11155111, "
            "max_return about 1"
        ),
        (TWAP, of_chain(RESERVE_PRICE, 11155111), MAX_RETURN),
    ),
    (
        errors.MethodUnknown,
        (
            "reserve_price was computed by version '1' of its method, and the market settles by "
            "version '3': this journal and that plugin do not go together"
        ),
        (TWAP, evolve(RESERVE_PRICE, method_version="1"), MAX_RETURN),
    ),
    (
        errors.WindowUnexpected,
        "max_return is over a window of 240 hours, and a round of the market has 720",
        (TWAP, RESERVE_PRICE, evolve(MAX_RETURN, parameters={"window_hours": 240})),
    ),
    *(
        (
            errors.EndsDiffer,
            "the ranges do not end together: "
            + ", ".join(
                f"{name} at {LATER if name == late else END}"
                for name in ("twap", "reserve_price", "max_return")
            ),
            tuple(
                moved(made, last_hour=END) if made.proof_type == late else made for made in ROUND
            ),
        )
        for late in ("twap", "reserve_price", "max_return")
    ),
    (
        errors.RangeOutside,
        (
            f"reserve_price begins at {END - 91 * DAY}, before max_return at {END - 90 * DAY}: the "
            "journal's hash is that of the hours of max_return, and all others have to be among "
            "them"
        ),
        (TWAP, moved(RESERVE_PRICE, first_hour=END - 91 * DAY), MAX_RETURN),
    ),
    (
        errors.RangeOutside,
        (
            f"twap begins at {END - 90 * DAY - HOUR_SECONDS}, before max_return at "
            f"{END - 90 * DAY}: the journal's hash is that of the hours of max_return, and all "
            "others have to be among them"
        ),
        (moved(TWAP, first_hour=END - 90 * DAY - HOUR_SECONDS), RESERVE_PRICE, MAX_RETURN),
    ),
    (
        errors.FeesDiffer,
        (
            "reserve_price and max_return are about the same hours and used different fees: "
            "headers were replaced in between. Submit the group again under a new id"
        ),
        (TWAP, moved(RESERVE_PRICE, fees_hash=[1] * 8), MAX_RETURN),
    ),
    (
        errors.HoursUnreadable,
        "max_return does not state hourly base fees as its input hourly_base_fee",
        (TWAP, RESERVE_PRICE, evolve(MAX_RETURN, inputs={})),
    ),
    *(
        (
            errors.NumberUnreadable,
            "the result of twap does not hold its number",
            (telling(TWAP, wrong), RESERVE_PRICE, MAX_RETURN),
        )
        for wrong in (None, True, "1.5", [1.5], float("nan"))
    ),
    (
        errors.NumberUnreadable,
        "the result of max_return does not hold its number",
        (TWAP, RESERVE_PRICE, evolve(MAX_RETURN, result={"hours": 2160})),
    ),
    (
        errors.NumberNegative,
        "max_return is -0.25: a journal holds no negative numbers",
        (TWAP, RESERVE_PRICE, telling(MAX_RETURN, -0.25)),
    ),
    (
        errors.NumberNegative,
        "twap is -inf: a journal holds no negative numbers",
        (telling(TWAP, float("-inf")), RESERVE_PRICE, MAX_RETURN),
    ),
    *(
        (
            errors.NumberTooLarge,
            "reserve_price is 2^123 or more: a journal has no room for it",
            (TWAP, telling(RESERVE_PRICE, large), MAX_RETURN),
        )
        for large in (2.0**123, float("inf"), 10**400)
    ),
]


@pytest.mark.parametrize(("error", "said", "statements"), REFUSED)
def test_receipts_that_do_not_agree_are_refused_with_the_reason(
    error: type[errors.JournalRefused], said: str, statements: tuple[Statement, ...]
) -> None:
    with pytest.raises(errors.JournalRefused) as caught:
        compose(group(*statements))
    assert type(caught.value) is error
    assert str(caught.value) == said


def test_what_no_service_states_is_refused_as_well() -> None:
    end = (2**63 // HOUR_SECONDS + 1) * HOUR_SECONDS
    far = [
        moved(made, first_hour=end - DAY, last_hour=end, fees_hash=[1] * 8)
        for made in (TWAP, RESERVE_PRICE, MAX_RETURN)
    ]
    with pytest.raises(errors.JournalRefused, match=r"the hours of \w+ cannot be read: first"):
        compose(group(*far))


def test_the_largest_number_that_fits_is_taken() -> None:
    largest = 2.0**123 - 2.0**70
    assert (
        journal_of(telling(TWAP, largest), RESERVE_PRICE, MAX_RETURN).twap_result
        == int(largest) << 128
    )


def test_every_refusal_has_a_code_of_its_own_that_the_readme_explains() -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    refusals: list[type[errors.JournalRefused]] = [
        errors.JournalRefused,
        *errors.JournalRefused.__subclasses__(),
    ]
    codes = [refusal.code for refusal in refusals]
    assert len(set(codes)) == len(codes)
    for code in codes:
        assert f"| `{code}` |" in readme
    assert readme.count("| `pitchlake_journal.") == len(codes)
    tried = {error for error, *_ in REFUSED} | {errors.JournalRefused}
    assert tried == set(refusals)


@pytest.fixture(scope="module")
def composer() -> Composer:
    """The plugin as a service has it: found by its entry point and loaded with all others."""
    loaded = plugins.load(plugins.installed(), strict=True)
    [composer] = [c for c in loaded.composers if c.candidate.name == "pitchlake_journal"]
    assert composer.candidate.distribution == "prover-pitchlake-journal"
    return composer


def test_a_service_finds_it_and_has_it_compose(composer: Composer) -> None:
    made = group(TWAP, RESERVE_PRICE, MAX_RETURN)
    assert composer.compose(made) == tuple(compose(made))


def test_a_refusal_comes_through_with_its_code(composer: Composer) -> None:
    with pytest.raises(ProofError, match="negative") as caught:
        composer.compose(group(TWAP, RESERVE_PRICE, telling(MAX_RETURN, -0.5)))
    assert caught.value.code == "pitchlake_journal.number_negative"
