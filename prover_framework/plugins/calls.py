"""Calls of hooks: each on the plugin that it concerns, with what it may return."""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeVar

import attrs
import pluggy
from attrs import frozen

from prover_framework.errors import (
    DataNotYet,
    InvalidReturn,
    PluginError,
    Problem,
    ProofError,
    RequestError,
    TryLater,
)
from prover_framework.inputs.builtin import default_needs
from prover_framework.model.charts import MAX_CHARTS, Chart
from prover_framework.model.inputs import Chain, Checked, InputKind, Inputs, LoadedData, Need
from prover_framework.model.jobs import JobChange
from prover_framework.model.names import INPUT_NAME
from prover_framework.model.proofs import (
    USUAL_DISPATCH,
    Dispatch,
    JobRequest,
    ProofType,
    SealType,
)
from prover_framework.model.receipts import AnyReceipt, Artefact, GroupEnd, GroupReceipts
from prover_framework.model.verdict import Verdict
from prover_framework.model.work import Work
from prover_framework.plugins.package_digest import package_digest, software_of
from prover_framework.receipts.canonical import canonical
from prover_framework.serialization.converter import structure, unstructure
from prover_framework.serialization.json_text import Json
from prover_framework.text import describe_error, one_line, shown

T = TypeVar("T")

# The hooks by which a plugin can put its job off.
HOOKS_THAT_MAY_WAIT = frozenset({"inputs", "compute"})


@frozen
class Candidate:
    """A plugin that may be loaded.

    Args:
        name: Name of the entry point; what operators call the plugin.
        module: Import path of the module with the hook implementations.
        distribution: Name of the distribution it came with.
        version: Version of that distribution.
    """

    name: str
    module: str
    distribution: str
    version: str


class _Hooks:
    """The hooks of one plugin, called on it and on no other."""

    # Whether all of the outermost package that they are in is the plugin's.
    _is_whole_package = True

    def __init__(self, candidate: Candidate, callers: Mapping[str, pluggy.HookCaller]) -> None:
        self.candidate = candidate
        self._callers = callers

    @cached_property
    def package_digest(self) -> str:
        """Digest of the files of the plugin's package, in hex.

        Raises:
            PluginError: They cannot be read.
        """
        return package_digest(self.candidate.module, whole=self._is_whole_package).hex()

    @cached_property
    def software(self) -> dict[str, str]:
        """Versions of the plugin's distribution and of what it depends on, by name."""
        return software_of(self.candidate.distribution)

    def implements(self, hook: str) -> bool:
        """Whether the plugin has a hook; what has not been implemented is not the plugin's code."""
        return bool(self._callers[hook].get_hookimpls())

    def asks_for(self, argument: str, *hooks: str) -> bool:
        """Whether some of the plugin's hooks take an argument; what none takes is not made."""
        return any(
            argument in each.argnames
            for hook in hooks
            for each in self._callers[hook].get_hookimpls()
        )

    def _call(self, hook: str, **arguments: object) -> object:
        try:
            return self._callers[hook](**arguments)
        except (ProofError, MemoryError):
            # The process that ran out of memory knows what its limit was.
            raise
        except TryLater as error:
            if hook in HOOKS_THAT_MAY_WAIT:
                raise
            raise self._misbehaved(hook, f"raised {describe_error(error)}") from error
        except BaseException as error:
            # A hook that calls sys.exit() may not end the service. Nobody else's wish is caught
            # here: hooks return at once, and in a service signals arrive in the event loop.
            raise self._misbehaved(hook, f"raised {describe_error(error)}") from error

    def _misbehaved(self, hook: str, how: str) -> PluginError:
        return PluginError(f"plugin {self.candidate.name}: its hook {hook} {how}")

    def _returned(self, hook: str, what: object, wanted: str) -> InvalidReturn:
        how = f"returned {shown(what)}, not {wanted}"
        return InvalidReturn(self.candidate.name, hook, how)

    def _verdict(self, hook: str, answer: object) -> Verdict:
        """Require a verdict: whatever else may be true or false in Python is no judgement."""
        if type(answer) is not Verdict:
            raise self._returned(hook, answer, "a Verdict")
        return attrs.evolve(answer, reason=one_line(answer.reason))


class ProofHooks(_Hooks):
    """The hooks of one proof type, called on the plugin that registered it.

    What a hook raises or returns amiss becomes a `PluginError` that names the plugin and the
    hook, except a `ProofError`, which is the plugin's way to refuse a job.
    """

    def __init__(
        self,
        candidate: Candidate,
        proof_type: ProofType[Any, Any],
        callers: Mapping[str, pluggy.HookCaller],
    ) -> None:
        super().__init__(candidate, callers)
        self.proof_type = proof_type

    def requiring(self, is_required: bool) -> "ProofHooks":  # noqa: FBT001 - the operator's word
        """Return the same hooks of a proof type that is required, or not."""
        proof_type = attrs.evolve(self.proof_type, required=is_required)
        return ProofHooks(self.candidate, proof_type, self._callers)

    def validate(self, parameters: object) -> list[Problem]:
        """Return what is wrong with the parameters' form; see `hookspecs.validate`."""
        try:
            problems = self._call("validate", parameters=parameters)
        except ProofError as refusal:
            # Here a refusal is one more thing that is wrong with the request.
            problems = [Problem("", str(refusal))]
        if problems is None:
            return []
        if not isinstance(problems, list) or not all(map(_is_problem, problems)):
            raise self._returned("validate", problems, "a list of Problem")
        return [
            Problem(
                ".".join(filter(None, (self.proof_type.name, one_line(p.where)))), one_line(p.what)
            )
            for p in problems
        ]

    def inputs(self, parameters: object) -> dict[str, Need]:
        """Return what data the computation needs; see `hookspecs.inputs`."""
        needs = self._call("inputs", parameters=parameters)
        if needs is None:
            return default_needs(parameters)
        if not isinstance(needs, Mapping) or not all(map(_is_need, needs.items())):
            raise self._returned("inputs", needs, "a mapping of names to Need")
        return dict(needs)

    def dispatch(self, job: JobRequest) -> Dispatch:
        """Return where the job's message goes; see `hookspecs.dispatch`."""
        choice = self._call("dispatch", job=job)
        if choice is None:
            return USUAL_DISPATCH
        if type(choice) is not Dispatch:
            raise self._returned("dispatch", choice, "Dispatch")
        return choice

    def compute(
        self,
        parameters: object,
        inputs: Inputs,
        seed: bytes,
        settings: object = None,
        work: Work | None = None,
    ) -> object:
        """Return the result; what the plugin raises is passed on as it is."""
        return self._callers["compute"](
            parameters=parameters,
            inputs=inputs,
            seed=seed,
            settings=self._usual(settings),
            work=work or Work(),
        )

    def _usual(self, settings: object) -> object:
        """Return settings, or the defaults of all where there are none."""
        cls = self.proof_type.settings
        return cls() if settings is None and cls is not None else settings

    def verify(
        self,
        parameters: object,
        inputs: Inputs,
        seed: bytes,
        claimed: object,
        settings: object = None,
        work: Work | None = None,
    ) -> Verdict:
        """Judge a claimed result; what the plugin raises is passed on as it is."""
        work = work or Work()
        answer = self._callers["verify"](
            parameters=parameters,
            inputs=inputs,
            seed=seed,
            claimed=claimed,
            settings=self._usual(settings),
            work=work,
        )
        if answer is not None:
            return self._verdict("verify", answer)
        again = self.compute(parameters, inputs, seed, settings, work)
        if again == claimed:
            return Verdict(accepted=True, reason="computed again with the same result")
        return Verdict(
            accepted=False, reason=f"computed again with another result{_where(claimed, again)}"
        )

    def charts(
        self,
        parameters: object,
        inputs: Inputs,
        seed: bytes,
        result: object,
        settings: object = None,
    ) -> tuple[Chart, ...]:
        """Return what illustrates a result; see `hookspecs.charts`."""
        answer = self._call(
            "charts",
            parameters=parameters,
            inputs=inputs,
            seed=seed,
            result=result,
            settings=self._usual(settings),
        )
        if answer is None:
            return ()
        if not isinstance(answer, list | tuple) or not all(type(each) is Chart for each in answer):
            raise self._returned("charts", answer, "a list of Chart")
        names = {chart.name for chart in answer}
        if len(answer) > MAX_CHARTS or len(names) < len(answer):
            how = f"returned {len(answer)} charts of {len(names)} names: up to {MAX_CHARTS} may be"
            raise InvalidReturn(self.candidate.name, "charts", f"{how}, each of its own name")
        return tuple(answer)


class Sealer(_Hooks):
    """A plugin that makes and checks one kind of seal."""

    def __init__(
        self,
        candidate: Candidate,
        seal_type: SealType,
        callers: Mapping[str, pluggy.HookCaller],
    ) -> None:
        super().__init__(candidate, callers)
        self.seal_type = seal_type

    def make(
        self,
        receipt: AnyReceipt,
        digest: bytes,
        inputs: Inputs | None,
        work: Work | None = None,
    ) -> dict[str, Any] | None:
        """Return a seal; see `hookspecs.make_seal`.

        Raises:
            ProofError: The plugin refuses, and why.
            PluginError: The hook misbehaved, and how.
        """
        seal = self._call(
            "make_seal", receipt=receipt, digest=digest, inputs=inputs, work=work or Work()
        )
        if seal is not None and not isinstance(seal, dict):
            raise self._returned("make_seal", seal, "a dictionary")
        return seal

    def check(
        self,
        receipt: AnyReceipt,
        digest: bytes,
        seal: dict[str, Any],
        inputs: Inputs | None,
        work: Work | None = None,
    ) -> Verdict:
        """Judge a seal; see `hookspecs.check_seal`.

        Raises:
            ProofError: The plugin refuses, and why.
            PluginError: The hook misbehaved, and how.
        """
        verdict = self._call(
            "check_seal",
            receipt=receipt,
            digest=digest,
            seal=seal,
            inputs=inputs,
            work=work or Work(),
        )
        return self._verdict("check_seal", verdict)


@frozen(kw_only=True)
class DataFacts:
    """What a kind says of data, ready to be stated.

    Args:
        facts: JSON form of the facts.
        seed_part: What of them takes part in the seed; none where the kind has no part in it.
        chain: The chain that the data is of, if it is of one.
        data_sha256: SHA-256 of the data's canonical bytes, in hex.
    """

    facts: dict[str, Any]
    seed_part: dict[str, Any] | None
    chain: Chain | None
    data_sha256: str


@frozen(kw_only=True)
class Judgement:
    """What judging stated facts came to.

    Args:
        unreadable: Why facts or evidence cannot be read; nothing else is said then.
        seed_part: What of the facts takes part in the seed, if the kind has a part in it.
        compared: What comparing with the verifier's own data came to, if he has any.
        checked: What the evidence came to, if the kind has any.
        data: JSON form of the data that the evidence shows.
        of_data: What that data would be stated as.
    """

    unreadable: str | None = None
    seed_part: dict[str, Any] | None = None
    compared: Verdict | None = None
    checked: Verdict | None = None
    data: Any = None
    of_data: DataFacts | None = None


class KindHooks(_Hooks):
    """A kind of input data, called on the plugin that registered it.

    Args:
        candidate: The plugin.
        kind: What it registered.
        callers: Its hooks.
        is_builtin: Whether it is one of the framework's own, which is trusted.
    """

    def __init__(
        self,
        candidate: Candidate,
        kind: InputKind[Any, Any, Any, Any],
        callers: Mapping[str, pluggy.HookCaller],
        *,
        is_builtin: bool,
    ) -> None:
        super().__init__(candidate, callers)
        self.kind = kind
        self.is_builtin = is_builtin
        # Of the framework's own only the kinds: the rest changes without touching data.
        self._is_whole_package = not is_builtin

    def load(self, need: object, settings: object) -> LoadedData[Any, Any]:
        """Load data; see `InputKind.load`.

        Raises:
            ProofError: It will never be there.
            DataNotYet: It is not there yet.
            PluginError: The kind misbehaved, and how.
        """
        loaded = self._of_kind("load", lambda: self.kind.load(need, settings))
        if type(loaded) is not LoadedData:
            raise self._returned("load", loaded, "LoadedData")
        self._require_type("load", loaded.data, self.kind.data_type)
        if loaded.evidence is not None:
            self._require_type("load", loaded.evidence, self.kind.evidence_type)
        return loaded

    def state(self, data: object) -> DataFacts:
        """Return what a statement says of data.

        Raises:
            ProofError: The kind refuses the data, and why.
            PluginError: The kind misbehaved, and how.
        """
        facts = self._of_kind("facts", lambda: self.kind.facts(data))
        self._require_type("facts", facts, self.kind.facts_type)
        chain = self._of_kind("chain", lambda: self.kind.chain(data))
        if chain is not None:
            self._require_type("chain", chain, Chain)
        whole = self._of_kind("canonical", lambda: self.kind.canonical(data))
        if whole is None:
            whole = canonical(unstructure(data), "the data")
        self._require_type("canonical", whole, bytes)
        return DataFacts(
            facts=self._object("facts", unstructure(facts)),
            seed_part=self.seed_part(facts),
            chain=chain,
            data_sha256=sha256(whole).hexdigest(),
        )

    def seed_part(self, facts: object) -> dict[str, Json] | None:
        """Return what of facts takes part in the seed; None where the kind has no part in it."""
        if not self.kind.has_seed_part:
            return None
        part = self._of_kind("seed_part", lambda: self.kind.seed_part(facts))
        return self._object("seed_part", unstructure(facts) if part is None else part)

    def judge(
        self, facts: Json, *, query: Json, own: object, evidence: Json, settings: object
    ) -> "Judgement":
        """Judge what somebody has stated of data.

        Args:
            facts: JSON form of the stated facts.
            query: JSON form of what was asked for; None where that is not known.
            own: The verifier's own data; None where he has none.
            evidence: JSON form of the evidence that came with the statement, if any did.
            settings: The verifier's settings of the kind; None where it has none.

        Raises:
            ProofError: The kind refuses, and why.
            PluginError: The kind misbehaved, and how.
        """
        kind = self.kind
        try:
            read = structure(facts, kind.facts_type)
            shown = None
            if kind.evidence_type is not None:
                shown = structure(evidence, kind.evidence_type)
            need = None if query is None else structure(query, kind.need_type)
        except RequestError as error:
            return Judgement(unreadable=str(error))
        compared = None
        if own is not None:
            answer = self._of_kind("compare", lambda: kind.compare(read, own))
            compared = self._verdict("compare", answer)
        checked, data, of_data = None, None, None
        if shown is not None and need is not None:
            # Data of the verifier's own is what was asked for; evidence may be of anything.
            answer = self._of_kind("answers", lambda: kind.answers(need, read))
            checked = self._verdict("answers", answer)
        if shown is not None and (checked is None or checked.accepted):
            found = self._of_kind("check", lambda: kind.check(read, shown, settings))
            self._require_type("check", found, Checked)
            checked = self._verdict("check", found.verdict)
            if found.data is not None and checked.accepted:
                self._require_type("check", found.data, kind.data_type)
                data, of_data = unstructure(found.data), self.state(found.data)
        return Judgement(
            seed_part=self.seed_part(read),
            compared=compared,
            checked=checked,
            data=data,
            of_data=of_data,
        )

    def _of_kind(self, method: str, work: Callable[[], T]) -> T:
        try:
            return work()
        except (ProofError, DataNotYet, MemoryError):
            raise
        except BaseException as error:
            raise self._misbehaved(method, f"raised {describe_error(error)}") from error

    def _require_type(self, method: str, value: object, wanted: type[Any] | None) -> None:
        if wanted is None or type(value) is not wanted:
            name = "None" if wanted is None else wanted.__name__
            raise self._returned(method, value, f"an instance of {name}")

    def _object(self, method: str, form: object) -> dict[str, Json]:
        if not isinstance(form, dict):
            raise self._returned(method, form, "what is an object in JSON")
        return form


class Composer(_Hooks):
    """A plugin that makes artefacts from the receipts of a group."""

    def compose(self, group: GroupReceipts) -> tuple[Artefact, ...]:
        """Return what the plugin makes of a group; see `hookspecs.compose`.

        Raises:
            ProofError: The plugin refuses, and why.
            PluginError: The hook misbehaved, and how.
        """
        answers = self._call("compose", group=group)
        if not isinstance(answers, list):
            raise self._misbehaved("compose", f"answered {shown(answers)}")
        # pluggy leaves out what is None.
        artefacts = answers[0] if answers else ()
        if not isinstance(artefacts, list | tuple) or not all(
            type(artefact) is Artefact for artefact in artefacts
        ):
            raise self._returned("compose", artefacts, "a list of Artefact")
        return tuple(artefacts)


class Observer(_Hooks):
    """A plugin that wants to know of changes, or of the ends of groups."""

    def job_changed(self, change: JobChange) -> None:
        """Tell the plugin of a change; see `hookspecs.job_changed`.

        Raises:
            PluginError: The hook misbehaved, and how.
        """
        self._tell("job_changed", change=change)

    def group_ended(self, group: GroupEnd) -> None:
        """Tell the plugin of the end of a group; see `hookspecs.group_ended`.

        Raises:
            PluginError: The hook misbehaved, and how.
        """
        self._tell("group_ended", group=group)

    def _tell(self, hook: str, **news: object) -> None:
        try:
            answers = self._call(hook, **news)
        except (ProofError, MemoryError) as error:
            raise self._misbehaved(hook, f"raised {describe_error(error)}") from error
        if answers:
            raise self._returned(hook, answers, "None")


def _where(claimed: object, again: object) -> str:
    """Name the first field of two results that differs."""
    cls: Any = type(claimed)
    for field_ in attrs.fields(cls) if isinstance(again, cls) else ():
        theirs, ours = getattr(claimed, field_.name), getattr(again, field_.name)
        if theirs != ours:
            return f": {field_.name} is claimed as {shown(theirs)}, and is {shown(ours)}"
    return ""


def _is_problem(problem: object) -> bool:
    if type(problem) is not Problem:
        return False
    parts: tuple[object, ...] = (problem.where, problem.what)
    return all(isinstance(part, str) for part in parts)


def _is_need(named: tuple[object, object]) -> bool:
    name, need = named
    return (
        isinstance(name, str) and re.fullmatch(INPUT_NAME, name) is not None and type(need) is Need
    )
