"""What every plugin that composes has to do, as tests that its author inherits."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, cast

import attrs
import pytest

from prover_framework.errors import ComputeError, PluginError, ProofError
from prover_framework.model.proofs import RangeParameters, split_job_id
from prover_framework.model.receipts import Artefact, GroupReceipts
from prover_framework.plugins.calls import Composer
from prover_framework.proofs.artefacts import COMPOSE_FAILED, COMPOSE_LIMITS
from prover_framework.receipts.canonical import canonical
from prover_framework.receipts.documents import MAX_RECEIPT_BYTES
from prover_framework.sandbox.calls import hook_call
from prover_framework.sandbox.hooks import COMPOSE
from prover_framework.serialization.converter import unstructure
from prover_framework.serialization.json_text import Json
from prover_framework.testing import stand_in
from prover_framework.testing.box import service_in_a_box
from prover_framework.testing.checks import (
    WatchedConformance,
    alterations,
    fail,
    loaded_plugins,
    require_entry_point,
)
from prover_framework.testing.compute import ComputeProcess
from prover_framework.testing.receipts import group_of, receipt_of
from prover_framework.testing.series import series_of

# Beside the statements of a group, and what other plugins make of it.
MAX_ARTEFACT_BYTES = MAX_RECEIPT_BYTES // 2

# What a result may hold under the name of a proof type, as far as a composer can know.
ODD_NUMBERS: tuple[Json, ...] = (
    None, True, -1, 0, -1.5, 2**53 - 1, 1e300, "", "text", "9" * 400, [], [1], {}, {"": 1},
)  # fmt: skip

TWO_HOURS = RangeParameters(start_timestamp=0, end_timestamp=7200)


class ComposerConformance(WatchedConformance):
    """Tests that every plugin that composes has to pass. Inherit from it as ``Test...``.

    The attributes are those of `Conformance` and `WatchedConformance`. The samples are groups, such
    as `group_of` and `receipt_of` make, of each of which the plugin makes something.
    """

    samples: Sequence[GroupReceipts]

    @pytest.fixture(scope="class")
    @classmethod
    def composer(cls) -> Composer:
        """The plugin, loaded as a service loads it."""
        composers = loaded_plugins(cls.plugin).composers
        if not composers:
            fail(f"{cls.plugin.__name__} composes nothing: it has no hook compose")
        return composers[0]

    @pytest.fixture(scope="class")
    @classmethod
    def process(cls) -> Iterator[ComputeProcess]:
        """A process like a worker's for all tests of the class."""
        with ComputeProcess() as process:
            yield process

    @pytest.fixture(scope="class")
    @classmethod
    def artefacts(
        cls, sample: GroupReceipts, composer: Composer, process: ComputeProcess
    ) -> tuple[Artefact, ...]:
        """What it makes of a sample, in a process with the limits of a service."""
        try:
            made = process.compose(composer, sample)
        except (ProofError, ComputeError, PluginError) as error:
            fail(f"its hook compose makes nothing of {_name(sample)}: {error}")
        if not made:
            fail(f"its hook compose makes nothing of {_name(sample)}, and says no reason")
        return made

    # Registration

    def test_it_is_found_through_its_entry_point(self, composer: Composer) -> None:
        """One distribution offers the module to the service, and says that it needs the core."""
        del composer
        require_entry_point(self.plugin, None)

    # Artefacts

    def test_a_receipt_can_hold_them(self, artefacts: tuple[Artefact, ...]) -> None:
        """All that it makes goes into the receipt of the group, beside what others make."""
        size = len(canonical(unstructure(artefacts), "the artefacts"))
        if size > MAX_ARTEFACT_BYTES:
            fail(f"the artefacts have {size:,} bytes, more than {MAX_ARTEFACT_BYTES:,}")
        for artefact in artefacts:
            if not artefact.content or not artefact.data:
                fail(f"the artefact {artefact.kind} is empty: make none where there is none")

    def test_it_composes_from_its_arguments_alone(
        self, sample: GroupReceipts, artefacts: tuple[Artefact, ...], composer: Composer
    ) -> None:
        """Whoever verifies composes again: elsewhere it makes the same, and touches nothing."""
        call = hook_call(COMPOSE, composer, COMPOSE_LIMITS.memory_bytes, group=sample)
        elsewhere = COMPOSE.answer(self.watch(call, seconds=2 * COMPOSE_LIMITS.seconds))
        if elsewhere.artefacts != artefacts:
            fail(f"in another process it makes {elsewhere.artefacts!r} and not {artefacts!r}")

    def test_it_composes_the_same_again(
        self,
        sample: GroupReceipts,
        artefacts: tuple[Artefact, ...],
        composer: Composer,
        process: ComputeProcess,
    ) -> None:
        """The same receipts make the same, a second time in the same process."""
        if _compose(process, composer, sample, _name(sample)) != artefacts:
            fail(f"a second time it makes something else of {_name(sample)}")

    def test_it_alters_no_receipt(self, sample: GroupReceipts, composer: Composer) -> None:
        """Receipts are not its to write to."""
        before = copy.deepcopy(unstructure(sample))
        composer.compose(sample)
        if unstructure(sample) != before:
            fail(f"its hook compose has altered the receipts of {_name(sample)}")

    def test_content_and_bytes_say_the_same(
        self,
        sample: GroupReceipts,
        artefacts: tuple[Artefact, ...],
        composer: Composer,
        process: ComputeProcess,
    ) -> None:
        """Where another result makes another content it makes other bytes, and the reverse."""
        for what, group in _altered(sample):
            made = _compose(process, composer, group, what)
            for one, other in zip(artefacts, made, strict=False):
                if (one.content == other.content) != (one.data == other.data):
                    altered = "content" if one.content != other.content else "bytes"
                    fail(f"{what}: {one.kind} has other {altered}, and nothing else is another")

    # Other groups

    def test_a_group_that_it_does_not_know_is_no_error(
        self, composer: Composer, process: ComputeProcess
    ) -> None:
        """It is called for every group, also of proof types that it has never heard of."""
        data = {"hours": series_of([(10, 2), (27, 3)])}
        odd = receipt_of("never_heard_of", {"never_heard_of": None}, data=data)
        for what, group in (
            ("a group in which every job failed", group_of()),
            ("a group of other proof types", group_of(odd)),
            ("a group with labels alone", group_of(odd, labels={0: "early"})),
        ):
            _compose(process, composer, group, what)

    def test_a_group_that_lacks_a_proof_is_no_error(
        self, sample: GroupReceipts, composer: Composer, process: ComputeProcess
    ) -> None:
        """Jobs fail, and then there is no receipt of them."""
        for place, job_id in enumerate(sample.job_ids):
            _compose(process, composer, _without(sample, place), f"{job_id} failed")

    def test_a_group_with_labels_is_no_error(
        self, sample: GroupReceipts, composer: Composer, process: ComputeProcess
    ) -> None:
        """A group can have several jobs of a type: it takes the one without a label or refuses."""
        for place, job_id in enumerate(sample.job_ids):
            name, _ = split_job_id(job_id)
            ids = [*sample.job_ids]
            ids[place] = f"{name}@other"
            alone = attrs.evolve(sample, job_ids=tuple(ids))
            _compose(process, composer, alone, f"{job_id} with a label alone")
            both = attrs.evolve(
                sample,
                receipts=(*sample.receipts, sample.receipts[place]),
                job_ids=(*sample.job_ids, ids[place]),
            )
            _compose(process, composer, both, f"{job_id} with and without a label")

    def test_odd_numbers_are_refused_with_words(
        self, sample: GroupReceipts, composer: Composer, process: ComputeProcess
    ) -> None:
        """Whatever another plugin's result holds, it makes something of it or says why not."""
        for place, receipt in enumerate(sample.receipts):
            name, result = receipt.statement.proof_type, receipt.statement.result
            for odd in ODD_NUMBERS:
                group = _with_result(sample, place, {**result, name: odd})
                _compose(process, composer, group, f"{name} is {str(odd)[:40]!r}")
            group = _with_result(sample, place, {})
            _compose(process, composer, group, f"the result of {name} is empty")
            group = _with(sample, place, inputs={}, range=None)
            _compose(process, composer, group, f"{name} states no data and no range")

    # Service

    def test_a_service_has_it_compose(self, composer: Composer) -> None:
        """In a whole service it fails on no group, and what it makes is found again."""
        name = composer.candidate.module
        with service_in_a_box(self.plugin, stand_in, series=series_of([(10, 2)] * 2)) as box:
            group = box.prove(stand_in.NAME, TWO_HOURS).job_group_id
            composed, report = box.receipt(group).statement.composed, box.verify(group)
        for each in composed:
            if each.plugin == name and each.refusal == COMPOSE_FAILED:
                fail(f"in a service its hook compose fails: {each.message}")
        if not report.accepted:
            fail("the service does not find what it has made when it verifies the receipt")


def _name(group: GroupReceipts) -> str:
    return f"the group of {', '.join(group.job_ids) or 'nothing'}"


def _compose(
    process: ComputeProcess, composer: Composer, group: GroupReceipts, what: str
) -> tuple[Artefact, ...]:
    """Return what it makes of a group: nothing, where it refuses with words."""
    try:
        return process.compose(composer, group)
    except ProofError as refusal:
        if not str(refusal):
            fail(f"{what}: refused without a word")
    except (ComputeError, PluginError) as error:
        fail(f"{what}: its hook compose fails, and does not refuse: {error}")
    return ()


def _altered(group: GroupReceipts) -> Iterator[tuple[str, GroupReceipts]]:
    for place, receipt in enumerate(group.receipts):
        for where, result in alterations(receipt.statement.result):
            what = f"with {where} of {group.job_ids[place]} altered"
            yield what, _with_result(group, place, cast(dict[str, Json], result))


def _without(group: GroupReceipts, place: int) -> GroupReceipts:
    def rest(of: Sequence[Any]) -> tuple[Any, ...]:
        return (*of[:place], *of[place + 1 :])

    return attrs.evolve(group, receipts=rest(group.receipts), job_ids=rest(group.job_ids))


def _with_result(group: GroupReceipts, place: int, result: dict[str, Json]) -> GroupReceipts:
    return _with(group, place, result=result)


def _with(group: GroupReceipts, place: int, **stated: Any) -> GroupReceipts:
    receipts = list(group.receipts)
    statement = attrs.evolve(receipts[place].statement, **stated)
    receipts[place] = attrs.evolve(receipts[place], statement=statement)
    return attrs.evolve(group, receipts=tuple(receipts))
