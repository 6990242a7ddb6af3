"""Load the data of a computation, and state it: each input by its kind.

This is the one place that tells the framework's own kinds of data from those of plugins. The former
are trusted: they load here, with the service's headers and results. The latter load in a process of
their own, and their data is looked at in another one.
"""

from collections.abc import Awaitable, Callable, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeVar, cast
from weakref import ref

from attrs import field, frozen

from prover_framework.errors import KindWithoutSeed, RequestError, ResultInvalid
from prover_framework.inputs.trusted import Sources, TrustedKind
from prover_framework.model.inputs import Need
from prover_framework.model.receipts import StatedInput
from prover_framework.plugins.calls import DataFacts, Judgement, KindHooks, ProofHooks
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.seed import SeedInput
from prover_framework.receipts.canonical import canonical
from prover_framework.sandbox import calls
from prover_framework.sandbox.hooks import GivenData, type_path
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import Json
from prover_framework.settings import Settings, plugin_settings

T = TypeVar("T")


@frozen(kw_only=True, eq=False)
class LoadedInput:
    """One input of a computation.

    Args:
        kind: Its kind.
        facts: What is stated of it.
        form: JSON form of the data.
        data: The data itself, of one of the framework's own kinds; else None.
        evidence: JSON form of the evidence; None where there is none.
        provenance: Where the data came from.
    """

    kind: KindHooks
    facts: DataFacts
    form: Json = field(repr=False)
    data: Any = field(default=None, repr=False)
    evidence: Json = field(default=None, repr=False)
    provenance: dict[str, Any] = field(factory=dict)

    @cached_property
    def stated(self) -> StatedInput:
        """What a statement says of it."""
        chain = self.facts.chain
        return StatedInput(
            kind=self.kind.kind.name,
            kind_version=self.kind.kind.version,
            kind_digest=self.kind.package_digest,
            chain_id=None if chain is None else chain.chain_id,
            simulated=chain is not None and chain.simulated,
            facts=self.facts.facts,
            data_sha256=self.facts.data_sha256,
            evidence_sha256=evidence_sha256(self.evidence),
        )

    @property
    def seed_input(self) -> SeedInput:
        """What of it takes part in the seed."""
        return seed_input_of(self.stated, self.facts.seed_part)

    @property
    def given(self) -> GivenData:
        """The data on its way to the computation."""
        return GivenData(type_path(self.kind.kind.data_type), self.form)


def evidence_sha256(evidence: Json) -> str | None:
    """Return the SHA-256 of the canonical JSON of evidence, in hex; None where there is none."""
    return None if evidence is None else sha256(canonical(evidence, "the evidence")).hexdigest()


def seed_input_of(stated: StatedInput, seed_part: dict[str, Any] | None) -> SeedInput:
    """Return what of a stated input takes part in the seed.

    Args:
        stated: The input.
        seed_part: What its kind says.
    """
    return SeedInput(stated.kind, stated.kind_version, stated.chain_id, seed_part)


class KnownData:
    """What is stated of data that several computations share, for as long as that is in memory.

    To hash a series of months and to write it as JSON takes longer than all else that a job costs.
    """

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[Any], DataFacts, Json]] = {}

    def of(self, hooks: KindHooks, data: Any) -> tuple[DataFacts, Json]:
        """Return what a kind states of its data, and the JSON form of the data."""
        key = id(data)
        if (known := self._known.get(key)) is not None and known[0]() is data:
            return known[1:]
        facts, form = hooks.state(data), unstructure(data)
        self._known[key] = ref(data, lambda _: self._known.pop(key, None)), facts, form
        return facts, form


class InputLoader:
    """Loads data, states it, and judges what others state.

    Args:
        settings: Hold the settings of plugins.
        plugins: Bring kinds of data beside the framework's own.
    """

    def __init__(self, settings: Settings, plugins: Plugins) -> None:
        self._plugins = plugins
        self._known = KnownData()
        # Read at the start, so that a wrong one is told then.
        self._settings: dict[str, Json] = {
            name: unstructure(
                plugin_settings(name, hooks.kind.settings_type, settings.plugin_variables)
            )
            for name, hooks in plugins.kinds.items()
            if hooks.kind.settings_type is not None
        }

    async def load_all(
        self, hooks: ProofHooks, needs: Mapping[str, Need], sources: Sources
    ) -> dict[str, LoadedInput]:
        """Load all data of a computation, by name.

        Args:
            hooks: Those of the proof type.
            needs: What it needs.
            sources: What the framework's own kinds load from.

        Raises:
            DataNotYet: Some of it is not there yet.
            ProofError: Some of it will never be there, or has no kind here.
            ComputeError: A kind's plugin failed.
            PluginError: A kind misbehaved, or is not installed.
            StoreError: The database cannot be read.
        """
        draws = hooks.proof_type.generator is not None
        for name, need in needs.items():
            if draws and not self._plugins.kind(need.kind).kind.has_seed_part:
                raise KindWithoutSeed(
                    f"the input {name} is of the kind {need.kind}, which has no part in the seed, "
                    "and the proof type draws numbers: whoever runs the job could choose them"
                )
        return {name: await self.load(hooks, need, sources) for name, need in needs.items()}

    async def load(self, hooks: ProofHooks, need: Need, sources: Sources) -> LoadedInput:
        """Load one input; see `load_all`."""
        kind = self._plugins.kind(need.kind)
        try:
            wanted = structure(need.query, kind.kind.need_type)
        except RequestError as error:
            raise ResultInvalid(
                f"plugin {hooks.candidate.name}: its hook inputs asks for {need.kind}, and {error}"
            ) from None
        if kind.is_builtin:
            return await load_here(kind, wanted, sources, self._known)
        settings = self._settings.get(need.kind)
        loaded = await self._in_own_process(
            lambda slot: calls.load(slot, kind, need.query, settings)
        )
        facts = await self._in_own_process(lambda slot: calls.state(slot, kind, loaded.data))
        return LoadedInput(
            kind=kind,
            facts=facts,
            form=loaded.data,
            evidence=loaded.evidence,
            provenance=loaded.provenance,
        )

    async def judge(
        self,
        hooks: KindHooks,
        stated: StatedInput,
        need: Need | None,
        own: LoadedInput | None,
        evidence: Json,
    ) -> Judgement:
        """Judge what somebody has stated of an input.

        Args:
            hooks: Its kind.
            stated: What is stated.
            need: What the proof type asks for; None where that is not known.
            own: The verifier's own data; None where he has none.
            evidence: The evidence that came with it, if any did.

        Raises:
            ProofError: The kind refuses.
            ComputeError: The kind's plugin failed.
            PluginError: The kind misbehaved.
        """
        query = None if need is None else need.query
        if hooks.is_builtin:
            data = None if own is None else own.data
            return hooks.judge(
                stated.facts, query=query, own=data, evidence=evidence, settings=None
            )
        return await self._in_own_process(
            lambda slot: calls.judge(
                slot,
                hooks,
                facts=stated.facts,
                query=query,
                own=None if own is None else own.form,
                evidence=evidence,
                settings=self._settings.get(stated.kind),
            )
        )

    async def _in_own_process(self, work: Callable[[Slot], Awaitable[T]]) -> T:
        slot = Slot(trace=self._plugins.trace)
        try:
            return await work(slot)
        finally:
            await slot.kill()


async def load_here(
    hooks: KindHooks, wanted: object, sources: Sources, known: KnownData | None = None
) -> LoadedInput:
    """Load data of one of the framework's own kinds, in this process; see `TrustedKind.load_here`.

    Args:
        hooks: The kind.
        wanted: An instance of its class of needs.
        sources: What it loads from.
        known: What is stated of data that others have loaded.
    """
    kind = cast("TrustedKind[Any, Any, Any]", hooks.kind)
    loaded = await kind.load_here(wanted, sources)
    facts, form = (known or KnownData()).of(hooks, loaded.data)
    return LoadedInput(
        kind=hooks,
        facts=facts,
        form=form,
        data=loaded.data,
        provenance=loaded.provenance,
    )
