"""Say in words what a table of checks is worth: from the checks that passed, and nothing else."""

from collections.abc import Sequence

from prover_framework.receipts.checks import Check, CheckName, Outcome

SETTLES_NOTHING = "The chain is simulated: it settles nothing."


def strength(checks: Sequence[Check], *, simulated: bool = False) -> str:
    """Return what was shown, and what is taken on trust.

    Args:
        checks: All checks that were made on a receipt.
        simulated: Whether the verifier's own headers are those of a simulated chain.
    """
    failed = [check for check in checks if check.outcome is Outcome.FAILED]
    if failed:
        about = f" of {failed[0].subject}" if failed[0].subject else ""
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"Worth nothing: the check {failed[0].check}{about} failed{more}."
    shown = _shown(checks)
    words = "; ".join(shown) if shown else "nothing"
    sentence = f"Shown: {words}. On trust: {'; '.join(_trusted(checks))}."
    return f"{sentence} {SETTLES_NOTHING}" if simulated else sentence


def _shown(checks: Sequence[Check]) -> list[str]:
    shown: list[str] = []
    if _holds(checks, CheckName.RESULT):
        shown.append("the results follow by their methods from the verifier's headers")
    elif _holds(checks, CheckName.SERIES):
        shown.append("the hours are those of the verifier's headers")
    if _holds(checks, CheckName.CHAIN):
        shown.append("the headers are linked to the trusted block")
    if _holds(checks, CheckName.ARTEFACTS):
        shown.append("what was composed follows from the results")
    return [*shown, *_seals(checks)]


def _trusted(checks: Sequence[Check]) -> list[str]:
    trusted: list[str] = []
    if _holds(checks, CheckName.RESULT):
        trusted.append("the plugins that are installed here")
        if _holds(checks, CheckName.CHAIN):
            trusted.append("the trusted block")
        else:
            trusted.append("that the verifier's headers are the chain's")
    elif _seals(checks):
        trusted.append("whoever sealed it, for all that it says")
    else:
        trusted.append("whoever sent it, for all that it says")
    return trusted


def _seals(checks: Sequence[Check]) -> list[str]:
    """Return what the kinds of seals show that hold on everything that they are on."""
    seals = [check for check in checks if check.check is CheckName.SEAL]
    unsound = {check.detail for check in seals if check.outcome is not Outcome.PASSED}
    return list(dict.fromkeys(check.reason for check in seals if check.detail not in unsound))


def _holds(checks: Sequence[Check], name: CheckName) -> bool:
    """Tell whether a check was made and passed on everything that it was made on."""
    outcomes = [check.outcome for check in checks if check.check is name]
    return bool(outcomes) and all(outcome is Outcome.PASSED for outcome in outcomes)
