"""Have plugins compose the receipts of a group: when that is made, and when it is checked."""

from prover_framework.errors import ComputeError, PluginError, ProofError
from prover_framework.model.limits import Limits
from prover_framework.model.receipts import Artefact, Composed, GroupReceipts
from prover_framework.plugins.calls import Composer
from prover_framework.sandbox import calls
from prover_framework.sandbox.slot import Slot
from prover_framework.settings import Settings

# What composing may use: it is arithmetic on a few numbers.
COMPOSE_LIMITS = Limits(seconds=30.0, memory_bytes=2 * 2**30)

# The refusal of a plugin that did not refuse but failed.
COMPOSE_FAILED = "compose_failed"


async def compose_one(
    composer: Composer, group: GroupReceipts, slot: Slot, settings: Settings
) -> Composed:
    """Have one plugin compose a group, in a compute process; what goes wrong is said in it."""
    refusal: str | None = None
    message = ""
    artefacts: tuple[Artefact, ...] = ()
    try:
        artefacts = await calls.compose(slot, composer, settings.limits(COMPOSE_LIMITS), group)
    except ProofError as error:
        refusal, message = error.code, str(error)
    except (ComputeError, PluginError) as error:
        refusal, message = COMPOSE_FAILED, str(error)
    return Composed(
        plugin=composer.candidate.name,
        plugin_digest=composer.package_digest,
        artefacts=artefacts,
        refusal=refusal,
        message=message,
    )
