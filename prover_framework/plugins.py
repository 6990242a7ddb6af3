"""Find plugins, load each by itself, and keep the broken ones away from the others."""

import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from inspect import isasyncgenfunction, iscoroutinefunction
from types import FrameType, MappingProxyType, ModuleType
from typing import Any, TypeVar

import attrs
import pluggy
from attrs import field, frozen

from prover_framework import hookspecs
from prover_framework.errors import PluginError, Problem, ProofError, one_line, told
from prover_framework.jobs import JobChange
from prover_framework.model import (
    API_VERSION,
    DataNeeds,
    Dispatch,
    Inputs,
    JobRequest,
    ProofType,
    RangeParameters,
    SealType,
    Verdict,
)
from prover_framework.receipts.model import AnyReceipt, Artefact, GroupReceipts
from prover_framework.receipts.packages import package_digest, software_of
from prover_framework.trace import watch_calls
from prover_framework.wire import GROUP_ID_KEY, require_form

T = TypeVar("T")

ENTRY_POINT_GROUP = "prover_framework"

# The hooks about one proof type: they are nobody's where no proof type is registered.
OF_ONE_TYPE = frozenset({"validate", "inputs", "dispatch", "compute", "verify"})

# The hooks about one kind of seal, likewise.
OF_ONE_SEAL = frozenset({"make_seal", "check_seal"})

# The kind of seal that the framework makes itself.
SIGNATURE = "ed25519"


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


@frozen
class Plugin:
    """A plugin that was found, and what became of it.

    Args:
        candidate: Where it comes from.
        proof_type: What it registered; none for a plugin that only observes.
        seal_type: The kind of seal that it registered, if any.
        hooks: Names of the hooks it implements.
        failure: Why it is not used; none when it is.
        disabled: Whether the operator's settings exclude it.
    """

    candidate: Candidate
    proof_type: ProofType[Any, Any] | None = None
    seal_type: SealType | None = None
    hooks: tuple[str, ...] = ()
    failure: str | None = None
    disabled: bool = False


class _Hooks:
    """The hooks of one plugin, called on it and on no other."""

    def __init__(self, candidate: Candidate, callers: Mapping[str, pluggy.HookCaller]) -> None:
        self.candidate = candidate
        self._callers = callers

    @cached_property
    def package_digest(self) -> str:
        """Digest of the files of the plugin's package, in hex.

        Raises:
            PluginError: They can not be read.
        """
        return package_digest(self.candidate.module).hex()

    @cached_property
    def software(self) -> dict[str, str]:
        """Versions of the plugin's distribution and of what it depends on, by name."""
        return software_of(self.candidate.distribution)

    def implements(self, hook: str) -> bool:
        """Whether the plugin has a hook; what has not been implemented is not the plugin's code."""
        return bool(self._callers[hook].get_hookimpls())

    def _call(self, hook: str, **arguments: object) -> object:
        try:
            return self._callers[hook](**arguments)
        except (ProofError, MemoryError):
            # The process that ran out of memory knows what its limit was.
            raise
        except BaseException as error:
            # A hook that calls sys.exit() may not end the service. Nobody else's wish is caught
            # here: hooks return at once, and in a service signals arrive in the event loop.
            raise self._misbehaved(hook, f"raised {told(error)}") from error

    def _misbehaved(self, hook: str, how: str) -> PluginError:
        return PluginError(f"plugin {self.candidate.name}: its hook {hook} {how}")


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

    def validate(self, parameters: object) -> list[Problem]:
        """Return what is wrong with the parameters' form; see `hookspecs.validate`."""
        try:
            problems = self._call("validate", parameters=parameters)
        except ProofError as refusal:
            # Here a refusal is one more thing that is wrong with the request.
            problems = [Problem("", str(refusal))]
        if problems is None:
            return []
        if not isinstance(problems, list) or not all(isinstance(p, Problem) for p in problems):
            raise self._misbehaved(
                "validate", f"returned {_shown(problems)}, not a list of Problem"
            )
        return [
            Problem(".".join(filter(None, (self.proof_type.name, p.where))), p.what)
            for p in problems
        ]

    def inputs(self, parameters: object) -> DataNeeds:
        """Return what data the computation needs; see `hookspecs.inputs`."""
        needs = self._call("inputs", parameters=parameters)
        if needs is None and isinstance(parameters, RangeParameters):
            return DataNeeds(hourly_base_fee=parameters.range)
        if not isinstance(needs, DataNeeds):
            raise self._misbehaved("inputs", f"returned {_shown(needs)}, not DataNeeds")
        return needs

    def dispatch(self, job: JobRequest) -> Dispatch:
        """Return where the job's message goes; see `hookspecs.dispatch`."""
        choice = self._call("dispatch", job=job)
        if choice is None:
            return Dispatch()
        if not isinstance(choice, Dispatch):
            raise self._misbehaved("dispatch", f"returned {_shown(choice)}, not Dispatch")
        return choice

    def compute(self, parameters: object, inputs: Inputs, seed: bytes) -> object:
        """Return the result; what the plugin raises is passed on as it is."""
        return self._callers["compute"](parameters=parameters, inputs=inputs, seed=seed)

    def verify(self, parameters: object, inputs: Inputs, seed: bytes, claimed: object) -> Verdict:
        """Judge a claimed result; what the plugin raises is passed on as it is."""
        verdict = self._callers["verify"](
            parameters=parameters, inputs=inputs, seed=seed, claimed=claimed
        )
        if isinstance(verdict, Verdict):
            return verdict
        again = self.compute(parameters, inputs, seed)
        if again == claimed:
            return Verdict(accepted=True, reason="computed again with the same result")
        return Verdict(
            accepted=False, reason=f"computed again with another result{_where(claimed, again)}"
        )


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
        self, receipt: AnyReceipt, digest: bytes, inputs: Inputs | None
    ) -> dict[str, Any] | None:
        """Return a seal; see `hookspecs.make_seal`.

        Raises:
            ProofError: The plugin refuses, and why.
            PluginError: The hook misbehaved, and how.
        """
        seal = self._call("make_seal", receipt=receipt, digest=digest, inputs=inputs)
        if seal is not None and not isinstance(seal, dict):
            raise self._misbehaved("make_seal", f"returned {_shown(seal)}, not a dictionary")
        return seal

    def check(self, receipt: AnyReceipt, digest: bytes, seal: dict[str, Any]) -> Verdict:
        """Judge a seal; see `hookspecs.check_seal`.

        Raises:
            ProofError: The plugin refuses, and why.
            PluginError: The hook misbehaved, and how.
        """
        verdict = self._call("check_seal", receipt=receipt, digest=digest, seal=seal)
        if not isinstance(verdict, Verdict):
            raise self._misbehaved("check_seal", f"returned {_shown(verdict)}, not a Verdict")
        return verdict


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
            raise self._misbehaved("compose", f"answered {_shown(answers)}")
        # pluggy leaves out what is None.
        artefacts = answers[0] if answers else ()
        if not isinstance(artefacts, list | tuple) or not all(
            isinstance(artefact, Artefact) for artefact in artefacts
        ):
            raise self._misbehaved("compose", f"returned {_shown(artefacts)}, not Artefacts")
        return tuple(artefacts)


class Observer(_Hooks):
    """A plugin that wants to know of changes."""

    def job_changed(self, change: JobChange) -> None:
        """Tell the plugin of a change; see `hookspecs.job_changed`.

        Raises:
            PluginError: The hook misbehaved, and how.
        """
        try:
            answers = self._call("job_changed", change=change)
        except (ProofError, MemoryError) as error:
            raise self._misbehaved("job_changed", f"raised {told(error)}") from error
        if answers:
            raise self._misbehaved("job_changed", f"returned {_shown(answers)}, not None")


@frozen
class Plugins:
    """All plugins of one process.

    Args:
        found: The whole list, with those that are not used.
        hooks: Those with a proof type, by its name.
        composers: Those that make artefacts from the receipts of a group.
        observers: Those that are told of changes, with a proof type or without.
        sealers: Those that make seals, by the kind of seal.
        trace: Whether each call of a hook is logged.
    """

    found: tuple[Plugin, ...]
    hooks: Mapping[str, ProofHooks] = field(repr=False)
    composers: tuple[Composer, ...] = field(default=(), repr=False)
    observers: tuple[Observer, ...] = field(default=(), repr=False)
    sealers: Mapping[str, Sealer] = field(factory=dict, repr=False)
    trace: bool = False

    @property
    def proof_types(self) -> dict[str, ProofType[Any, Any]]:
        """The proof types that can be asked for, by name."""
        return {name: hooks.proof_type for name, hooks in self.hooks.items()}

    def for_type(self, name: str) -> ProofHooks:
        """Return the hooks of a proof type.

        Raises:
            PluginError: No plugin in use provides it.
        """
        try:
            return self.hooks[name]
        except KeyError:
            installed = ", ".join(sorted(self.hooks)) or "none"
            raise PluginError(
                f"proof type {name!r} is not installed here (installed: {installed})"
            ) from None

    def title(self, name: str) -> str:
        """Return what messages to people call a proof type, installed or not."""
        hooks = self.hooks.get(name)
        return hooks.proof_type.title if hooks else name


def installed() -> list[Candidate]:
    """Return what the entry points of all installed distributions offer, by name."""
    return sorted(
        (
            Candidate(
                name=point.name,
                module=point.value,
                distribution=point.dist.name if point.dist else "unknown",
                version=point.dist.version if point.dist else "unknown",
            )
            for point in entry_points(group=ENTRY_POINT_GROUP)
        ),
        key=lambda candidate: (candidate.name, candidate.distribution),
    )


def load(
    candidates: Iterable[Candidate],
    *,
    allow: Collection[str] | None = None,
    deny: Collection[str] = (),
    strict: bool = False,
    trace: bool = False,
    probe: Callable[[Sequence[str]], Mapping[str, str]] | None = None,
) -> Plugins:
    """Load plugins one by one; one that cannot be used is listed with the reason.

    Args:
        candidates: What to load.
        allow: Names to load; all when None.
        deny: Names not to load, whatever ``allow`` says.
        strict: Raise if any plugin that is not disabled cannot be used.
        trace: Log each call of a hook, here and in the processes that plugins run in.
        probe: Imports modules where they can do no harm and returns the ones that may not be
            imported here, with reasons (`prover_framework.probe.find_deadly`).

    Raises:
        PluginError: ``strict`` is set and a plugin cannot be used; or ``allow`` or ``deny`` names
            a plugin that is not installed.
    """
    candidates = list(candidates)
    _check_names(candidates, [*(allow or ()), *deny])
    enabled = [c for c in candidates if (allow is None or c.name in allow) and c.name not in deny]
    deadly = probe([c.module for c in enabled]) if probe and enabled else {}
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    loaded: list[Plugin] = []
    for candidate in candidates:
        if candidate not in enabled:
            loaded.append(Plugin(candidate, disabled=True))
        elif candidate.module in deadly:
            loaded.append(Plugin(candidate, failure=deadly[candidate.module]))
        else:
            loaded.append(_load_one(candidate, trace=trace))
    loaded = _refuse_doubles(loaded)
    failures = [plugin for plugin in loaded if plugin.failure]
    if strict and failures:
        raise PluginError(
            "; ".join(f"plugin {p.candidate.name} cannot be used: {p.failure}" for p in failures)
        )
    usable = [plugin for plugin in loaded if not plugin.failure and not plugin.disabled]
    by_module: dict[str, Plugin] = {}
    for plugin in usable:
        by_module.setdefault(plugin.candidate.module, plugin)
    for module in by_module:
        manager.register(import_module(module), name=module)
    if trace:
        watch_calls(manager, {name: plugin.candidate.name for name, plugin in by_module.items()})
    return Plugins(
        found=tuple(loaded),
        trace=trace,
        hooks=MappingProxyType(
            {
                plugin.proof_type.name: ProofHooks(
                    plugin.candidate, plugin.proof_type, _callers_of(manager, plugin.candidate)
                )
                for plugin in usable
                if plugin.proof_type
            }
        ),
        composers=tuple(
            Composer(plugin.candidate, _callers_of(manager, plugin.candidate))
            for plugin in by_module.values()
            if "compose" in plugin.hooks
        ),
        observers=tuple(
            Observer(plugin.candidate, _callers_of(manager, plugin.candidate))
            for plugin in by_module.values()
            if "job_changed" in plugin.hooks
        ),
        sealers=MappingProxyType(
            {
                plugin.seal_type.kind: Sealer(
                    plugin.candidate, plugin.seal_type, _callers_of(manager, plugin.candidate)
                )
                for plugin in usable
                if plugin.seal_type
            }
        ),
    )


def _check_names(candidates: Sequence[Candidate], names: Iterable[str]) -> None:
    known = {candidate.name for candidate in candidates}
    if unknown := sorted(set(names) - known):
        raise PluginError(
            "PROVER_PLUGINS or PROVER_PLUGINS_DISABLED names plugins that are not installed: "
            f"{', '.join(map(repr, unknown))} (installed: {', '.join(sorted(known)) or 'none'})"
        )


def _load_one(candidate: Candidate, *, trace: bool) -> Plugin:
    """Import and register one plugin in a manager of its own, so that failing leaves no trace."""
    trial = pluggy.PluginManager(hookspecs.PROJECT)
    trial.add_hookspecs(hookspecs)
    if trace:
        watch_calls(trial, {candidate.module: candidate.name})
    try:
        module = _survive(lambda: import_module(candidate.module))
    except _Failed as failed:
        return Plugin(candidate, failure=f"its import failed: {failed}")
    try:
        _survive(lambda: _register(trial, module))
    except _Failed as failed:
        return Plugin(candidate, failure=f"its hooks do not fit: {failed}")
    callers = trial.get_hookcallers(module) or ()
    hooks = tuple(sorted(caller.name for caller in callers))
    if not hooks:
        return Plugin(candidate, failure=f"{candidate.module} implements no hook")
    for caller in callers:
        function = caller.get_hookimpls()[0].function
        if iscoroutinefunction(function) or isasyncgenfunction(function):
            return Plugin(
                candidate,
                hooks=hooks,
                failure=f"its hook {caller.name} is asynchronous: a hook returns data",
            )
    for registration, alone, what in (
        ("proof_type", OF_ONE_TYPE, "proof type"),
        ("seal_type", OF_ONE_SEAL, "kind of seal"),
    ):
        if registration not in hooks and (ours := alone.intersection(hooks)):
            return Plugin(
                candidate,
                hooks=hooks,
                failure=f"it implements {', '.join(sorted(ours))} and registers no {what}",
            )
    try:
        proof_type = _survive(trial.hook.proof_type)
        seal_type = _survive(trial.hook.seal_type)
    except _Failed as failed:
        return Plugin(candidate, hooks=hooks, failure=f"its registration failed: {failed}")
    failure = None
    if "proof_type" in hooks:
        failure = _unfit(proof_type, hooks)
    if "seal_type" in hooks:
        failure = failure or _unfit_seal(seal_type, hooks)
    if failure:
        return Plugin(candidate, hooks=hooks, failure=failure)
    return Plugin(candidate, proof_type=proof_type, seal_type=seal_type, hooks=hooks)


def _register(manager: pluggy.PluginManager, module: ModuleType) -> None:
    manager.register(module)
    manager.check_pending()


class _Failed(Exception):
    """A plugin's code raised; the message says what."""


def _survive(work: Callable[[], T]) -> T:
    """Run a plugin's code; whatever it raises is a `_Failed`, unless somebody pressed Ctrl-C.

    A plugin can raise SystemExit or KeyboardInterrupt, too, and the service goes on without it. An
    interrupt that comes from a signal is somebody's wish and is passed on. What the code prints
    goes to standard error: commands print results, and programs read them.
    """
    interrupted = threading.Event()
    previous = signal.getsignal(signal.SIGINT)
    watching = (
        threading.current_thread() is threading.main_thread()
        and previous is signal.default_int_handler
    )

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        signal.default_int_handler(number, frame)

    if watching:
        signal.signal(signal.SIGINT, note)
    try:
        with redirect_stdout(sys.stderr):
            return work()
    except BaseException as error:
        if interrupted.is_set():
            raise
        raise _Failed(told(error)) from None
    finally:
        if watching and signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, previous)


def _where(claimed: object, again: object) -> str:
    """Name the first field of two results that differs."""
    cls: Any = type(claimed)
    for field_ in attrs.fields(cls) if isinstance(again, cls) else ():
        theirs, ours = getattr(claimed, field_.name), getattr(again, field_.name)
        if theirs != ours:
            return f": {field_.name} is claimed as {_shown(theirs)}, and is {_shown(ours)}"
    return ""


def _shown(value: object) -> str:
    try:
        return one_line(repr(value))
    except Exception:
        return f"a {type(value).__name__}"


def _unfit(proof_type: object, hooks: Collection[str]) -> str | None:
    if not isinstance(proof_type, ProofType):
        return f"its hook proof_type returned {_shown(proof_type)}, not a ProofType"
    if proof_type.api_version != API_VERSION:
        return _other_version(proof_type.api_version)
    classes: tuple[tuple[str, object], ...] = (
        ("parameters", proof_type.parameters),
        ("result", proof_type.result),
    )
    for what, cls in classes:
        if not (isinstance(cls, type) and attrs.has(cls)):
            return f"its {what} class is {_shown(cls)}, not an attrs class"
        try:
            require_form(cls)
        except TypeError as error:
            return f"its {what} class can not be read from JSON: {one_line(str(error))}"
    if proof_type.name == GROUP_ID_KEY:
        return f"{GROUP_ID_KEY} is no name for a proof type: requests have the group's id there"
    if "compute" not in hooks:
        return f"it registers the proof type {proof_type.name} and does not compute it"
    return None


def _unfit_seal(seal_type: object, hooks: Collection[str]) -> str | None:
    if not isinstance(seal_type, SealType):
        return f"its hook seal_type returned {_shown(seal_type)}, not a SealType"
    if seal_type.api_version != API_VERSION:
        return _other_version(seal_type.api_version)
    if seal_type.kind == SIGNATURE:
        return f"{SIGNATURE} is the framework's own kind of seal"
    if not OF_ONE_SEAL.issubset(hooks):
        missing = ", ".join(sorted(OF_ONE_SEAL.difference(hooks)))
        return f"it registers the kind of seal {seal_type.kind} and does not implement {missing}"
    return None


def _other_version(api_version: int) -> str:
    return (
        f"it is written for API version {api_version} and this is version {API_VERSION}: install "
        "a version of the plugin that fits"
    )


def _refuse_doubles(loaded: Sequence[Plugin]) -> list[Plugin]:
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for plugin in loaded:
        for registered in _registered(plugin):
            owners[registered].append(f"{plugin.candidate.name} ({plugin.candidate.distribution})")
    return [attrs.evolve(p, failure=p.failure or _doubled(p, owners)) for p in loaded]


def _registered(plugin: Plugin) -> list[str]:
    """Return the words for what a plugin registered and nobody else may."""
    words: list[str] = []
    if plugin.proof_type and not plugin.failure:
        words.append(f"the proof type {plugin.proof_type.name}")
    if plugin.seal_type and not plugin.failure:
        words.append(f"the kind of seal {plugin.seal_type.kind}")
    return words


def _doubled(plugin: Plugin, owners: Mapping[str, Sequence[str]]) -> str | None:
    for registered in _registered(plugin):
        if len(owners[registered]) > 1:
            return (
                f"{registered} is registered by {' and '.join(owners[registered])}: uninstall or "
                "disable all but one"
            )
    return None


def _callers_of(
    manager: pluggy.PluginManager, candidate: Candidate
) -> dict[str, pluggy.HookCaller]:
    others = [plugin for name, plugin in manager.list_name_plugin() if name != candidate.module]
    return {
        name: manager.subset_hook_caller(name, remove_plugins=others)
        for name in vars(manager.hook)
        if not name.startswith("_")
    }
