"""Say in words what a table of checks is worth: from the checks that passed, and nothing else."""

from collections.abc import Mapping, Sequence

from prover_framework.model.findings import Outcome
from prover_framework.model.proofs import SealShows
from prover_framework.verification.checks import Check, CheckName

# What the sentence says of a kind of seal that a plugin judges: never in the plugin's own words.
SHOWN_BY_SEALS = {
    SealShows.VOUCHER: "who vouches for it",
    SealShows.COMMITTED_DATA: "the arithmetic over the data that it commits to",
    SealShows.FEES_HASH: "the arithmetic over the data of the on-chain fees hash",
}

SETTLES_NOTHING = "The chain is simulated: it settles nothing."


def strength(
    checks: Sequence[Check],
    *,
    simulated: bool = False,
    vouched: Sequence[str] = (),
    group: str | None = None,
    shows: Mapping[str, SealShows] | None = None,
) -> str:
    """Return what was shown, and what is taken on trust.

    Args:
        checks: All checks that were made on a receipt.
        simulated: Whether any of the data is of a simulated chain.
        vouched: The inputs that evidence shows, which somebody vouches for.
        group: The id of the group that the receipt is of; none for that of a proof.
        shows: What the kinds of seals show that plugins judge; the core's own are not among them.
    """
    failed = [check for check in checks if check.outcome is Outcome.FAILED]
    if failed:
        about = f" of {failed[0].subject}" if failed[0].subject else ""
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"Worth nothing: the check {failed[0].check}{about} failed{more}."
    shown = _shown(checks, shows or {})
    words = "; ".join(shown) if shown else "nothing"
    sentence = f"Shown: {words}. On trust: {'; '.join(_trusted(checks, vouched, group))}."
    return f"{sentence} {SETTLES_NOTHING}" if simulated else sentence


def _shown(checks: Sequence[Check], shows: Mapping[str, SealShows]) -> list[str]:
    shown: list[str] = []
    has_inputs = any(check.check is CheckName.INPUT and check.detail for check in checks)
    if _holds(checks, CheckName.RESULT):
        of = "the verifier's data" if has_inputs else "the stated parameters"
        with_all = ", with what is attached to them," * _holds(checks, CheckName.ATTACHMENTS)
        shown.append(f"the results{with_all} follow by their methods from {of}")
    elif has_inputs and _holds(checks, CheckName.INPUT):
        shown.append("the inputs are the verifier's data")
    if _holds(checks, CheckName.CHAIN):
        shown.append("the headers are linked to the trusted block")
    if _holds(checks, CheckName.ARTEFACTS):
        shown.append("what was composed follows from the results")
    return [*shown, *_seals(checks, shows)]


def _trusted(checks: Sequence[Check], vouched: Sequence[str], group: str | None) -> list[str]:
    trusted: list[str] = []
    if _holds(checks, CheckName.RESULT):
        trusted.append("the plugins that are installed here")
        if _holds(checks, CheckName.CHAIN):
            trusted.append("the trusted block")
        elif any(check.check is CheckName.PROVENANCE for check in checks):
            trusted.append("that the verifier's headers are the chain's")
        if vouched:
            trusted.append(f"whoever vouches for the evidence of {', '.join(vouched)}")
        if any(check.check is CheckName.ATTACHMENTS for check in checks) and not _holds(
            checks, CheckName.ATTACHMENTS
        ):
            trusted.append("whoever sent it, for what is attached to the results")
        if group is not None and not _is_sealed(checks, group):
            # What its members state is shown, and nothing of this is in what they state.
            trusted.append(
                "whoever sent it, for the group's id, which jobs it has, and what became of those "
                "without a result"
            )
    elif _seals(checks, {}):
        trusted.append("whoever sealed it, for all that it says")
    else:
        trusted.append("whoever sent it, for all that it says")
    return trusted


def _seals(checks: Sequence[Check], shows: Mapping[str, SealShows]) -> list[str]:
    """Return what the kinds of seals show that hold on everything that they are on."""
    seals = [check for check in checks if check.check is CheckName.SEAL]
    unsound = {check.detail for check in seals if check.outcome is not Outcome.PASSED}
    sound = (check for check in seals if check.detail not in unsound)
    return list(dict.fromkeys(_shown_by(check, shows) for check in sound))


def _shown_by(check: Check, shows: Mapping[str, SealShows]) -> str:
    if (what := shows.get(check.detail)) is None:
        return check.reason
    return f"by its seal {check.detail}, {SHOWN_BY_SEALS[what]}"


def _is_sealed(checks: Sequence[Check], subject: str) -> bool:
    return any(
        check.check is CheckName.SEAL
        and check.subject == subject
        and check.outcome is Outcome.PASSED
        for check in checks
    )


def _holds(checks: Sequence[Check], name: CheckName) -> bool:
    """Tell whether a check was made and passed on everything that it was made on."""
    outcomes = [check.outcome for check in checks if check.check is name]
    return bool(outcomes) and all(outcome is Outcome.PASSED for outcome in outcomes)
