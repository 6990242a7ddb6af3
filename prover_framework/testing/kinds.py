"""What every kind of input data has to do, as tests that its author inherits."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from attrs import frozen

from prover_framework.errors import ProofError, ProverError, RequestError
from prover_framework.model.inputs import InputKind, LoadedData
from prover_framework.plugins.calls import KindHooks
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import Json
from prover_framework.settings import plugin_settings
from prover_framework.testing.checks import (
    Conformance,
    alterations,
    fail,
    load_data,
    loaded_plugins,
    require_entry_point,
)


@frozen(kw_only=True)
class Stated:
    """Data that was loaded for a sample, and what a statement says of it.

    Args:
        need: What was asked for.
        loaded: The data, and its evidence if the kind has any.
        facts: JSON form of the facts.
        evidence: JSON form of the evidence.
    """

    need: Any
    loaded: LoadedData[Any, Any]
    facts: dict[str, Json]
    evidence: Json


class InputKindConformance(Conformance):
    """Tests that every kind of input data has to pass. Inherit from it as ``Test...``.

    The attributes are those of `Conformance`; the samples are instances of the need class, each of
    which the kind can load, and ``variables`` are its settings.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def hooks(cls) -> KindHooks:
        """The kind's hooks, loaded as a service loads them."""
        own = [hooks for hooks in loaded_plugins(cls.plugin).kinds.values() if not hooks.is_builtin]
        if len(own) != 1:
            fail(f"{cls.plugin.__name__} registers no kind of data: it has no hook input_kind")
        return own[0]

    @pytest.fixture(scope="class")
    @classmethod
    def stated(cls, sample: Any, hooks: KindHooks) -> Stated:
        """The data of a sample, and what is stated of it."""
        try:
            loaded = load_data(hooks, unstructure(sample), cls.variables)
        except ProofError as error:
            fail(f"{sample!r} cannot be loaded: {error}")
        evidence = None if loaded.evidence is None else unstructure(loaded.evidence)
        return Stated(
            need=sample, loaded=loaded, facts=hooks.state(loaded.data).facts, evidence=evidence
        )

    # Registration

    def test_it_is_found_through_its_entry_point(self, hooks: KindHooks) -> None:
        """One distribution offers the module to the service, and says that it needs the core."""
        del hooks
        require_entry_point(self.plugin, None)

    # Needs

    def test_a_need_goes_through_json(self, sample: Any, hooks: KindHooks) -> None:
        """A need comes from a proof type as JSON, and what is read again is what was written."""
        cls = hooks.kind.need_type
        if not isinstance(sample, cls):
            fail(f"the sample {sample!r} is no {cls.__name__}")
        again = structure(unstructure(sample), cls)
        if again != sample:
            fail(f"{sample!r} is {again!r} after it went through JSON")

    def test_wrong_needs_are_refused_by_name(self, hooks: KindHooks) -> None:
        """What cannot be asked for is refused with the name of the field."""
        form = cast("dict[str, Json]", unstructure(self.samples[0]))
        for name, value in self.wrong:
            try:
                structure(cast("Json", {**form, name: value}), hooks.kind.need_type)
            except RequestError as error:
                if name not in str(error):
                    fail(f"{name} = {value!r}: refused with a message that names it not: {error}")
            else:
                fail(f"a need with {name} = {value!r} is accepted and should be refused")

    # Data and facts

    def test_data_goes_to_another_process(self, stated: Stated, hooks: KindHooks) -> None:
        """Data is loaded in one process and computed from in another."""
        data = stated.loaded.data
        again = structure(unstructure(data), hooks.kind.data_type)
        if again != data:
            fail(f"the data {data!r} is {again!r} after it went through JSON")

    def test_the_same_data_has_the_same_facts(self, stated: Stated, hooks: KindHooks) -> None:
        """Facts are made of the data alone, and are read again as they were written."""
        data = structure(unstructure(stated.loaded.data), hooks.kind.data_type)
        if hooks.state(data) != hooks.state(stated.loaded.data):
            fail("the same data is stated in two ways")
        if hooks.kind.facts_type is not None:
            again = unstructure(structure(cast("Json", stated.facts), hooks.kind.facts_type))
            if again != stated.facts:
                fail(f"the facts {stated.facts!r} are {again!r} after they went through JSON")

    def test_other_data_is_stated_otherwise(self, stated: Stated, hooks: KindHooks) -> None:
        """A statement gives a digest of the data: no two have the same."""
        true = hooks.state(stated.loaded.data).data_sha256
        for place, data in self._altered(unstructure(stated.loaded.data), hooks.kind.data_type):
            try:
                other = hooks.state(data).data_sha256
            except ProofError:
                continue
            if other == true:
                fail(f"data with {place or 'its value'} altered has the same digest")

    # Judging

    def test_the_verifiers_own_data_is_accepted(self, stated: Stated, hooks: KindHooks) -> None:
        """Who has the same data finds that it is what is stated."""
        judgement = self._judge(hooks, stated, stated.facts, own=stated.loaded.data)
        if judgement.compared is None or not judgement.compared.accepted:
            fail(f"its method compare refuses true facts: {judgement.compared}")

    def test_altered_facts_are_refused_by_own_data(self, stated: Stated, hooks: KindHooks) -> None:
        """Every single value of the facts is compared with the verifier's own data."""
        for place, facts in alterations(cast("Json", stated.facts)):
            judgement = self._judge(hooks, stated, facts, own=stated.loaded.data)
            if judgement.unreadable is None and (
                judgement.compared is None or judgement.compared.accepted
            ):
                fail(f"its method compare accepts facts with {place} altered")

    def test_evidence_shows_the_data(self, stated: Stated, hooks: KindHooks) -> None:
        """Who has no data of his own finds it in the evidence, under his settings."""
        self._require_evidence(stated)
        judgement = self._judge(hooks, stated, stated.facts)
        if judgement.checked is None or not judgement.checked.accepted:
            fail(f"true evidence is refused: {judgement.unreadable or judgement.checked}")
        if judgement.data != unstructure(stated.loaded.data):
            fail("its method check shows other data than what was loaded")

    def test_altered_facts_are_refused_by_evidence(self, stated: Stated, hooks: KindHooks) -> None:
        """No evidence stands for other facts than those that it came with."""
        self._require_evidence(stated)
        for place, facts in alterations(cast("Json", stated.facts)):
            self._require_refused(hooks, stated, facts, stated.evidence, f"facts with {place}")

    def test_altered_evidence_is_refused(self, stated: Stated, hooks: KindHooks) -> None:
        """Every single value of the evidence counts."""
        self._require_evidence(stated)
        for place, evidence in alterations(stated.evidence):
            what = f"evidence with {place}"
            self._require_refused(hooks, stated, cast("Json", stated.facts), evidence, what)

    def test_evidence_of_another_need_is_refused(self, hooks: KindHooks) -> None:
        """Data that somebody vouches for is not the data that was asked for."""
        loaded = [
            (sample, load_data(hooks, unstructure(sample), self.variables))
            for sample in self.samples
        ]
        others = [
            (one, other)
            for one in loaded
            for other in loaded
            if one[1].data != other[1].data and other[1].evidence is not None
        ]
        if not others:
            pytest.skip("no two samples have other data with evidence")
        for (need, _), (_, other) in others:
            facts = hooks.state(other.data).facts
            stated = Stated(need=need, loaded=other, facts=facts, evidence=None)
            evidence = unstructure(other.evidence)
            judgement = self._judge(hooks, stated, cast("Json", facts), evidence=evidence)
            if judgement.checked is None or judgement.checked.accepted:
                fail(f"its method answers takes the data of another need for that of {need!r}")

    # What the tests share

    def _judge(
        self,
        hooks: KindHooks,
        stated: Stated,
        facts: Any,
        *,
        own: Any = None,
        evidence: Json = None,
    ) -> Any:
        kind: InputKind[Any, Any, Any, Any] = hooks.kind
        settings = None
        if kind.settings_type is not None:
            settings = plugin_settings(kind.name, kind.settings_type, self.variables)
        return hooks.judge(
            facts,
            query=unstructure(stated.need),
            own=own,
            evidence=stated.evidence if evidence is None else evidence,
            settings=settings,
        )

    def _require_refused(
        self, hooks: KindHooks, stated: Stated, facts: Json, evidence: Json, what: str
    ) -> None:
        try:
            judgement = self._judge(hooks, stated, facts, evidence=evidence)
        except ProverError as error:
            fail(f"{what} altered: its method check raises, and does not return: {error}")
        if judgement.unreadable is None and (
            judgement.checked is None or judgement.checked.accepted
        ):
            fail(f"{what} altered is accepted")

    @staticmethod
    def _require_evidence(stated: Stated) -> None:
        if stated.loaded.evidence is None:
            pytest.skip("its data has no evidence")

    @staticmethod
    def _altered(form: Json, cls: Any) -> Iterator[tuple[str, Any]]:
        for place, altered in alterations(form):
            try:
                yield place, structure(altered, cls)
            except RequestError:
                continue
