"""The journal of the Pitch Lake market: what its verifier contract decodes, made from receipts.

Once the jobs of a group have ended, the hook `compose` turns the receipts of TWAP, reserve price
and max return into a record of 552 bytes, or refuses with the reason.
"""

from prover_framework import Artefact, GroupReceipts, hookimpl
from prover_pitchlake_journal.composition import compose_journal
from prover_pitchlake_journal.journal import content, encode

# The version of the hooks that this is written for.
PROVER_API = 1

KIND = "pitchlake_journal"

# Of the layout. The market's contract has had others, with more fields, at other times.
LAYOUT_VERSION = "1"


@hookimpl
def compose(group: GroupReceipts) -> list[Artefact]:
    """Make the journal of a finished group that has the three proofs."""
    journal = compose_journal(group)
    if journal is None:
        return []
    return [Artefact(KIND, LAYOUT_VERSION, content(journal), encode(journal).hex())]
