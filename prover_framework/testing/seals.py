"""What every kind of seal has to do, as tests that its author inherits."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import attrs
import pytest

from prover_framework.errors import ComputeError, NoExactForm, PluginError, ProofError
from prover_framework.model.findings import Outcome
from prover_framework.model.inputs import Inputs
from prover_framework.model.proofs import RangeParameters, SealShows
from prover_framework.model.receipts import AnyReceipt, GroupReceipt, Receipt, Seal
from prover_framework.model.series import HourlySeries
from prover_framework.model.verdict import Verdict
from prover_framework.plugins.calls import Sealer
from prover_framework.receipts.canonical import require_stated
from prover_framework.receipts.documents import (
    KIND,
    MAX_RECEIPT_BYTES,
    document_of,
    dump_receipt,
    read_receipt,
)
from prover_framework.sandbox.calls import hook_call
from prover_framework.sandbox.hooks import CHECK_SEAL
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
from prover_framework.testing.compute import ComputeProcess, given
from prover_framework.testing.receipts import SealSample, seal_samples
from prover_framework.testing.series import series_of
from prover_framework.verification.checks import CheckName

# Content and a seal of the largest size fit into one receipt.
MAX_SEAL_BYTES = MAX_RECEIPT_BYTES // 2

# What strangers send in place of a value.
ODD_VALUES: tuple[Json, ...] = (
    None, True, -1, 2**53 - 1, 1.5, "", "text", "\u4f60\0", "00" * 5000, [], {}, [[None]], {"": ""},
)  # fmt: skip

UNKNOWN_MEMBER = "no_such_member"

TWO_HOURS = RangeParameters(start_timestamp=0, end_timestamp=7200)


class SealConformance(WatchedConformance):
    """Tests that every kind of seal has to pass. Inherit from it as ``Test...``.

    The attributes are those of `Conformance` and `WatchedConformance`. The samples are instances of
    `SealSample`; unless said otherwise two proofs over hours of base fees, and their group.
    """

    brings_samples = True
    samples: Sequence[SealSample] = ()

    @classmethod
    def all_samples(cls) -> Sequence[SealSample]:
        """Return the samples, or those of the kit."""
        return cls.samples or seal_samples()

    @pytest.fixture(scope="class")
    @classmethod
    def sealer(cls) -> Sealer:
        """The hooks of the kind of seal, loaded as a service loads them."""
        sealers = loaded_plugins(cls.plugin).sealers
        if not sealers:
            fail(f"{cls.plugin.__name__} registers no kind of seal: it has no hook seal_type")
        (sealer,) = sealers.values()
        return sealer

    @pytest.fixture(scope="class")
    @classmethod
    def process(cls) -> Iterator[ComputeProcess]:
        """A process like a worker's for all tests of the class."""
        with ComputeProcess() as process:
            yield process

    @pytest.fixture(scope="class")
    @classmethod
    def seal(cls, sample: SealSample, sealer: Sealer, process: ComputeProcess) -> dict[str, Json]:
        """The seal on a sample, from a process with the declared limits."""
        try:
            seal = process.make_seal(sealer, sample)
        except (ProofError, ComputeError, PluginError) as error:
            fail(f"its hook make_seal makes no seal on {_name(sample)}: {error}")
        if seal is None:
            pytest.skip(f"it makes no seal on {_name(sample)}")
        return seal

    # Registration

    def test_it_is_found_through_its_entry_point(self, sealer: Sealer) -> None:
        """One distribution offers the module to the service, and says that it needs the core."""
        del sealer
        require_entry_point(self.plugin, None)

    def test_it_seals_some_sample(self, sealer: Sealer, process: ComputeProcess) -> None:
        """A kind that applies to none of the samples is not tested."""
        if all(process.make_seal(sealer, each) is None for each in self.all_samples()):
            fail("it makes no seal on any sample: give it samples that it seals")

    # Making

    def test_a_receipt_can_hold_it(self, sample: SealSample, seal: dict[str, Json]) -> None:
        """A seal is an object in JSON of bounded size and depth, which is read as it was made."""
        if KIND in seal:
            fail(f"the seal has a member {KIND}, where the service writes its kind")
        try:
            size = len(require_stated(seal, "the seal"))
        except NoExactForm as error:
            fail(str(error))
        if size > MAX_SEAL_BYTES:
            fail(f"the seal has {size:,} bytes, more than {MAX_SEAL_BYTES:,}")
        receipt = attrs.evolve(sample.receipt, seals=(Seal("under-test", seal),))
        (again,) = read_receipt(dump_receipt(receipt)).seals
        if again.document != seal:
            fail(f"the seal {seal!r} is {again.document!r} after it went through a receipt")

    def test_it_alters_nothing(self, sample: SealSample, sealer: Sealer) -> None:
        """Receipt, data and seal are not its to write to."""
        before = copy.deepcopy((document_of(sample.receipt), sample.data))
        inputs = None if sample.data is None else Inputs(sample.data)
        seal = sealer.make(sample.receipt, sample.digest, inputs)
        if (document_of(sample.receipt), sample.data) != before:
            fail("its hook make_seal has altered what it is given")
        if seal is None:
            return
        told = copy.deepcopy(seal)
        sealer.check(sample.receipt, sample.digest, told, inputs)
        if (document_of(sample.receipt), sample.data) != before or told != seal:
            fail("its hook check_seal has altered what it is given")

    # Checking

    def test_its_own_seal_is_accepted(
        self, sample: SealSample, seal: dict[str, Json], sealer: Sealer, process: ComputeProcess
    ) -> None:
        """Who checks a true seal is told that it is true, and why."""
        verdict = _judge(process, sealer, sample, seal, "its own seal")
        if not verdict.accepted:
            fail(f"its hook check_seal refuses its own seal: {verdict.reason}")
        if not verdict.reason:
            fail("its hook check_seal accepts its own seal without a word")

    def test_who_has_no_data_is_answered(
        self, sample: SealSample, seal: dict[str, Json], sealer: Sealer, process: ComputeProcess
    ) -> None:
        """Somebody who has only the receipt gets a verdict as well, whichever it is."""
        _judge(process, sealer, SealSample(sample.receipt), seal, "its own seal without data")

    def test_it_judges_by_its_arguments_alone(
        self, sample: SealSample, seal: dict[str, Json], sealer: Sealer, process: ComputeProcess
    ) -> None:
        """Another process says the same of a seal, and touches no file and no socket."""
        call = hook_call(
            CHECK_SEAL,
            sealer,
            sealer.seal_type.limits.memory_bytes,
            receipt=sample.receipt,
            digest=sample.digest,
            seal=seal,
            inputs=given(sample.data),
        )
        elsewhere = self.watch(call, seconds=2 * sealer.seal_type.limits.seconds)
        for _ in range(2):
            here = attrs.asdict(_judge(process, sealer, sample, seal, "its own seal"))
            if here != elsewhere:
                fail(f"its hook check_seal says {elsewhere} in one process, {here} in another")

    # Refusing

    def test_an_altered_seal_is_refused(
        self, sample: SealSample, seal: dict[str, Json], sealer: Sealer, process: ComputeProcess
    ) -> None:
        """Every single value of a seal counts."""
        for place, altered in alterations(seal):
            document = cast(dict[str, Json], altered)
            _require_refused(process, sealer, sample, document, f"a seal with {place} altered")

    def test_garbage_is_refused(
        self, sample: SealSample, seal: dict[str, Json], sealer: Sealer, process: ComputeProcess
    ) -> None:
        """Seals come from strangers: whatever they send is refused, and raises nothing else."""
        for what, document in _garbage(seal):
            _require_refused(process, sealer, sample, document, what)

    def test_a_seal_with_more_in_it_is_refused(
        self, sample: SealSample, seal: dict[str, Json], sealer: Sealer, process: ComputeProcess
    ) -> None:
        """What nobody checks is no part of a seal: it could say anything."""
        more = {**seal, UNKNOWN_MEMBER: 1}
        _require_refused(process, sealer, sample, more, "a seal with one member more")

    def test_a_seal_over_another_digest_is_refused(
        self, sample: SealSample, seal: dict[str, Json], sealer: Sealer, process: ComputeProcess
    ) -> None:
        """A seal stands for all of a receipt, and a receipt is its digest."""
        made_later = attrs.evolve(sample.receipt.provenance, made_at="2024-01-01T00:00:01.000Z")
        # The checker narrows no union of classes.
        later = attrs.evolve(sample.receipt, provenance=cast(Any, made_later))
        other = attrs.evolve(sample, receipt=later)
        _require_refused(process, sealer, other, seal, "on a receipt that was made a second later")

    def test_a_seal_on_another_statement_is_refused(
        self, sample: SealSample, seal: dict[str, Json], sealer: Sealer, process: ComputeProcess
    ) -> None:
        """A seal of one number does not stand for another one."""
        for what, other in _others(sample, self.all_samples()):
            _require_refused(process, sealer, other, seal, what)

    def test_other_data_with_the_same_sum_is_refused(
        self, sample: SealSample, seal: dict[str, Json], sealer: Sealer, process: ComputeProcess
    ) -> None:
        """A proof of arithmetic is about the verifier's own data, where he has some."""
        if sealer.seal_type.shows is SealShows.VOUCHER:
            pytest.skip("it shows who vouches, and nothing of the data")
        data = {name: _reversed(each) for name, each in (sample.data or {}).items()}
        if data == (sample.data or {}):
            pytest.skip(f"there are no hours to exchange in the data of {_name(sample)}")
        other = attrs.evolve(sample, data=data)
        _require_refused(process, sealer, other, seal, "for a verifier with other hours")

    # Service

    def test_a_service_makes_it_and_checks_it(self, sealer: Sealer) -> None:
        """In a whole service a receipt gets the seal, and the service accepts it."""
        kind = sealer.seal_type.kind
        with service_in_a_box(self.plugin, stand_in, series=series_of([(10, 2)] * 2)) as box:
            group = box.prove(stand_in.NAME, TWO_HOURS).job_group_id
            box.sealed(group)
            receipt, report = box.receipt(group), box.verify(group)
        sealed = [*receipt.seals, *(seal for each in receipt.receipts for seal in each.seals)]
        if kind not in {seal.kind for seal in sealed}:
            pytest.skip(f"it makes no seal on a proof of {stand_in.NAME}")
        for row in report.checks:
            is_its = row.check is CheckName.SEAL and row.detail == kind
            if is_its and row.outcome is not Outcome.PASSED:
                fail(f"the service does not accept its seal on {row.subject}: {row.reason}")


def _name(sample: SealSample) -> str:
    if isinstance(sample.receipt, Receipt):
        return f"the sample of {sample.receipt.statement.proof_type}"
    return f"the sample of the group {sample.receipt.statement.group_id}"


def _judge(
    process: ComputeProcess, sealer: Sealer, sample: SealSample, seal: dict[str, Json], what: str
) -> Verdict:
    """Return what it says of a seal; its `ProofError` is a refusal, anything else is a fault."""
    try:
        return process.check_seal(sealer, sample, seal)
    except ProofError as refusal:
        return Verdict(accepted=False, reason=str(refusal))
    except (ComputeError, PluginError) as error:
        fail(f"{what}: its hook check_seal fails, and does not judge: {error}")


def _require_refused(
    process: ComputeProcess, sealer: Sealer, sample: SealSample, seal: dict[str, Json], what: str
) -> None:
    verdict = _judge(process, sealer, sample, seal, what)
    if verdict.accepted:
        fail(f"{what}: its hook check_seal accepts it")
    if not verdict.reason:
        fail(f"{what}: its hook check_seal refuses it without a word")


def _garbage(seal: Mapping[str, Json]) -> Iterator[tuple[str, dict[str, Json]]]:
    yield "a seal without members", {}
    for name, value in seal.items():
        yield f"a seal without {name}", {key: seal[key] for key in seal if key != name}
        for odd in ODD_VALUES:
            if type(odd) is not type(value) or odd != value:
                yield f"a seal with {name} = {str(odd)[:20]!r}", {**seal, name: odd}


def _others(sample: SealSample, samples: Sequence[SealSample]) -> Iterator[tuple[str, SealSample]]:
    """Yield receipts that a seal on the sample does not stand for."""
    for other in samples:
        if other.digest != sample.digest:
            yield f"on {_name(other)}, another receipt", other
    for what, receipt in _altered(sample.receipt):
        yield what, attrs.evolve(sample, receipt=receipt)


def _altered(receipt: AnyReceipt) -> Iterator[tuple[str, AnyReceipt]]:
    """Yield receipts that state something else."""
    if isinstance(receipt, GroupReceipt):
        group = attrs.evolve(receipt.statement, group_id="another")
        yield "on the receipt of another group", attrs.evolve(receipt, statement=group)
        return
    for place, result in alterations(receipt.statement.result):
        proof = attrs.evolve(receipt.statement, result=cast(dict[str, Json], result))
        yield f"with {place} of the result altered", attrs.evolve(receipt, statement=proof)


def _reversed(data: Any) -> Any:
    """Return the same hours in another order, with the same sum."""
    if not isinstance(data, HourlySeries):
        return data
    return attrs.evolve(data, sums_wei=data.sums_wei[::-1], counts=data.counts[::-1])
