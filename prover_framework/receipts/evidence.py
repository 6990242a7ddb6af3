"""What a result was made from, as it is shown beside it: taken from its receipt."""

import json
from typing import Any

from attrs import frozen

from prover_framework.model.attachments import StatedAttachment

EVIDENCE = "evidence"


@frozen(kw_only=True)
class InputEvidence:
    """What one input was, in short.

    Args:
        kind: Name of its kind of data.
        chain_id: Id of the chain that it is of; none where it is of none.
        simulated: Whether that is a simulation; such a number settles nothing.
        facts: What the kind states of it.
        provenance: Where it came from.
    """

    kind: str
    chain_id: int | None
    simulated: bool
    facts: dict[str, Any]
    provenance: dict[str, Any]


@frozen(kw_only=True)
class Evidence:
    """What a result was made from, in short; the receipt says all.

    Args:
        version: Version of the proof type's method.
        simulated: Whether any input rests on a simulation; such a number settles nothing.
        inputs: The data, by the names that the computation has for it.
        seed: The derived seed, in hex.
    """

    version: str
    simulated: bool
    inputs: dict[str, InputEvidence]
    seed: str


def attachments_of(content: str) -> dict[str, StatedAttachment]:
    """Return what a stored receipt states of what is attached to its result, by name."""
    # Most have none, and to read a receipt takes longer than to search it.
    if '"attachments"' not in content:
        return {}
    stated = json.loads(content)["statement"].get("attachments", {})
    return {name: StatedAttachment(**each) for name, each in stated.items()}


def evidence_of(content: str) -> Evidence:
    """Return what a stored receipt says of what its result was made from.

    A status shows many of them, and this service has written them itself: so they are not read as
    strictly as a stranger's.
    """
    document = json.loads(content)
    statement, provenance = document["statement"], document["provenance"]
    inputs = {
        name: InputEvidence(
            kind=stated["kind"],
            chain_id=stated["chain_id"],
            simulated=stated["simulated"],
            facts=stated["facts"],
            provenance=provenance["inputs"].get(name, {}),
        )
        for name, stated in statement["inputs"].items()
    }
    return Evidence(
        version=statement["method_version"],
        simulated=any(each.simulated for each in inputs.values()),
        inputs=inputs,
        seed=statement["seed"],
    )
