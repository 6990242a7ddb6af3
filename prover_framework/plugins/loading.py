"""Find plugins, load each by itself, and keep the broken ones away from the others."""

import re
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import isasyncgenfunction, iscoroutinefunction
from types import FrameType, MappingProxyType, ModuleType
from typing import Any, TypeVar

import attrs
import pluggy

from prover_framework import hookspecs
from prover_framework.errors import PluginError
from prover_framework.inputs import builtin
from prover_framework.model.inputs import InputKind
from prover_framework.model.names import GROUP_ID_KEY, KIND_NAME
from prover_framework.model.proofs import API_VERSION, ProofType, SealType
from prover_framework.model.receipts import SIGNATURE
from prover_framework.plugins.calls import (
    Candidate,
    Composer,
    KindHooks,
    Observer,
    ProofHooks,
    Sealer,
)
from prover_framework.plugins.package_digest import FRAMEWORK
from prover_framework.plugins.registry import Plugin, Plugins
from prover_framework.plugins.trace import watch_calls
from prover_framework.receipts.evidence import EVIDENCE
from prover_framework.serialization.converter import class_form
from prover_framework.serialization.forms import IntegerForm, NumberForm, OwnForm
from prover_framework.serialization.round_trip import find_fault
from prover_framework.text import describe_error, shown

T = TypeVar("T")


ENTRY_POINT_GROUP = "prover_framework"


# The hooks about one proof type: they are nobody's where no proof type is registered.
OF_ONE_TYPE = frozenset({"validate", "inputs", "dispatch", "compute", "verify", "charts"})


# The hooks about one kind of seal, likewise.
OF_ONE_SEAL = frozenset({"make_seal", "check_seal"})


# Where a plugin's module states the API version that it was written for, as a number. It has no
# default: one that came from here would always be right.
STATED_VERSION = "PROVER_API"


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
    import_check: Callable[[Sequence[str]], Mapping[str, str]] | None = None,
    attachment_bytes: int | None = None,
) -> Plugins:
    """Load plugins one by one; one that cannot be used is listed with the reason.

    Args:
        candidates: What to load.
        allow: Names to load; all when None.
        deny: Names not to load, whatever ``allow`` says.
        strict: Raise if any plugin that is not disabled cannot be used.
        trace: Log each call of a hook, here and in the processes that plugins run in.
        import_check: Imports modules where they can do no harm and returns the ones that may not be
            imported here, with reasons (`prover_framework.sandbox.import_check.find_deadly`).
        attachment_bytes: How many bytes the attachments of one result may have together; a plugin
            that asks for more cannot be used. As many as it likes when None.

    Raises:
        PluginError: ``strict`` is set and a plugin cannot be used; or ``allow`` or ``deny`` names
            a plugin that is not installed.
    """
    candidates = list(candidates)
    _check_names(candidates, [*(allow or ()), *deny])
    enabled = [c for c in candidates if (allow is None or c.name in allow) and c.name not in deny]
    deadly = import_check([c.module for c in enabled]) if import_check and enabled else {}
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    if trace:
        # Of several names for one module the first counts.
        watch_calls(manager, {c.module: c.name for c in reversed(enabled)})
    # Each module once, whatever number of entry points lead to it.
    by_module: dict[str, Plugin] = {}
    for candidate in enabled:
        if candidate.module in by_module:
            continue
        if candidate.module in deadly:
            plugin = Plugin(candidate, failure=deadly[candidate.module])
        else:
            plugin = _load_one(manager, candidate)
        by_module[candidate.module] = plugin
    loaded = _refuse_doubles(
        [
            attrs.evolve(by_module[candidate.module], candidate=candidate)
            if candidate in enabled
            else Plugin(candidate, disabled=True)
            for candidate in candidates
        ]
    )
    if attachment_bytes is not None:
        loaded = [_refuse_large(plugin, attachment_bytes) for plugin in loaded]
    failures = [plugin for plugin in loaded if plugin.failure]
    if strict and failures:
        raise PluginError(
            "; ".join(f"plugin {p.candidate.name} cannot be used: {p.failure}" for p in failures)
        )
    for plugin in failures:
        _unregister(manager, plugin.candidate)
    usable = [plugin for plugin in loaded if not plugin.failure and not plugin.disabled]
    own_kinds = _builtin_kinds()
    by_module = {}
    for plugin in usable:
        by_module.setdefault(plugin.candidate.module, plugin)
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
        group_observers=tuple(
            Observer(plugin.candidate, _callers_of(manager, plugin.candidate))
            for plugin in by_module.values()
            if "group_ended" in plugin.hooks
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
        kinds=MappingProxyType(
            own_kinds
            | {
                plugin.input_kind.name: KindHooks(
                    plugin.candidate,
                    plugin.input_kind,
                    _callers_of(manager, plugin.candidate),
                    is_builtin=False,
                )
                for plugin in usable
                if plugin.input_kind
            }
        ),
    )


@cache
def _builtin_kinds() -> dict[str, KindHooks]:
    """Register the framework's own kinds of data, as if each were a plugin."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    kinds: dict[str, KindHooks] = {}
    for module in builtin.MODULES:
        candidate = Candidate(module.__name__, module.__name__, FRAMEWORK, "")
        _register(manager, module, candidate)
        callers = _callers_of(manager, candidate)
        kind: InputKind[Any, Any, Any, Any] = callers["input_kind"]()
        kinds[kind.name] = KindHooks(candidate, kind, callers, is_builtin=True)
    return kinds


def _check_names(candidates: Sequence[Candidate], names: Iterable[str]) -> None:
    known = {candidate.name for candidate in candidates}
    if unknown := sorted(set(names) - known):
        raise PluginError(
            "PROVER_PLUGINS or PROVER_PLUGINS_DISABLED names plugins that are not installed: "
            f"{', '.join(map(repr, unknown))} (installed: {', '.join(sorted(known)) or 'none'})"
        )


def _load_one(manager: pluggy.PluginManager, candidate: Candidate) -> Plugin:
    """Import and register one plugin; one that cannot be used is not registered afterwards."""
    try:
        module = _survive(lambda: import_module(candidate.module))
    except _Failed as failed:
        return Plugin(candidate, failure=f"its import failed: {failed}")
    if failure := _other_version(module):
        return Plugin(candidate, failure=failure)
    try:
        _survive(lambda: _register(manager, module, candidate))
    except _Failed as failed:
        plugin = Plugin(candidate, failure=f"its hooks do not fit: {failed}")
    else:
        plugin = _registered_one(candidate, _callers_of(manager, candidate))
    if plugin.failure:
        # The next one is registered as if this one had never been there.
        _unregister(manager, candidate)
    return plugin


def _registered_one(candidate: Candidate, callers: Mapping[str, pluggy.HookCaller]) -> Plugin:
    """Have a plugin register what it provides, and say what is wrong with it."""
    implementations = {
        name: caller.get_hookimpls()[0].function
        for name, caller in callers.items()
        if caller.get_hookimpls()
    }
    hooks = tuple(sorted(implementations))
    if not hooks:
        return Plugin(candidate, failure=f"{candidate.module} implements no hook")
    for name in hooks:
        function = implementations[name]
        if iscoroutinefunction(function) or isasyncgenfunction(function):
            return Plugin(
                candidate,
                hooks=hooks,
                failure=f"its hook {name} is asynchronous: a hook returns data",
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
        proof_type = _survive(callers["proof_type"])
        seal_type = _survive(callers["seal_type"])
        input_kind = _survive(callers["input_kind"])
    except _Failed as failed:
        return Plugin(candidate, hooks=hooks, failure=f"its registration failed: {failed}")
    failure = None
    if "proof_type" in hooks:
        try:
            # The classes of a plugin are its code, too.
            failure = _survive(lambda: _unfit(proof_type, hooks))
        except _Failed as failed:
            failure = f"its classes cannot be used: {failed}"
    if "seal_type" in hooks:
        failure = failure or _unfit_seal(seal_type, hooks)
    if not failure and proof_type is not None:
        failure = _unfit_limits(proof_type, callers["compute"])
    if "input_kind" in hooks and not failure:
        try:
            failure = _survive(lambda: _unfit_kind(input_kind))
        except _Failed as failed:
            failure = f"its classes cannot be used: {failed}"
    if failure:
        return Plugin(candidate, hooks=hooks, failure=failure)
    return Plugin(
        candidate, proof_type=proof_type, seal_type=seal_type, input_kind=input_kind, hooks=hooks
    )


class _Implementations:
    """The hooks that a module implements, under their names: what is registered of it.

    A module that is registered itself is looked through again whenever another one is, by the names
    of its attributes: what it answers to that is its own code, and a hook under another name is
    missed.
    """

    def __init__(self, manager: pluggy.PluginManager, module: ModuleType) -> None:
        self._module = module
        for name, value in list(vars(module).items()):
            if (options := manager.parse_hookimpl_opts(module, name)) is not None:
                hook = options.get("specname") or name
                if hook in vars(self):
                    raise PluginError(f"two of its functions implement the hook {hook}")
                vars(self)[hook] = value

    def __repr__(self) -> str:
        return repr(self._module)


def _register(manager: pluggy.PluginManager, module: ModuleType, candidate: Candidate) -> None:
    manager.register(_Implementations(manager, module), name=candidate.module)
    manager.check_pending()


def _unregister(manager: pluggy.PluginManager, candidate: Candidate) -> None:
    if manager.has_plugin(candidate.module):
        manager.unregister(name=candidate.module)


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
        raise _Failed(describe_error(error)) from None
    finally:
        if watching and signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, previous)


def _unfit(proof_type: object, hooks: Collection[str]) -> str | None:
    if not isinstance(proof_type, ProofType):
        return f"its hook proof_type returned {shown(proof_type)}, not a ProofType"
    classes: tuple[tuple[str, object], ...] = (
        ("parameters", proof_type.parameters),
        ("result", proof_type.result),
    )
    for what, cls in classes:
        if not (isinstance(cls, type) and attrs.has(cls)):
            return f"its {what} class is {shown(cls)}, not an attrs class"
        if fault := find_fault(cls):
            return f"its {what} class does not go to JSON and back: {fault}"
    if fault := _unfit_settings(proof_type.settings):
        return fault
    if proof_type.name == GROUP_ID_KEY:
        return f"{GROUP_ID_KEY} is no name for a proof type: requests have the group's id there"
    number = class_form(proof_type.result).fields.get(proof_type.name)
    if number is None or not isinstance(number.form, IntegerForm | NumberForm | OwnForm):
        return (
            f"its result class {proof_type.result.__name__} has no number under "
            f"{proof_type.name}, where clients look for it"
        )
    if EVIDENCE in class_form(proof_type.result).fields:
        return (
            f"its result class {proof_type.result.__name__} has a field {EVIDENCE}, where the "
            "service writes its own"
        )
    if "compute" not in hooks:
        return f"it registers the proof type {proof_type.name} and does not compute it"
    return None


def _unfit_limits(proof_type: ProofType[Any, Any], compute: pluggy.HookCaller) -> str | None:
    takes_work = "work" in compute.get_hookimpls()[0].argnames
    if proof_type.limits.attachments and not takes_work:
        return "its Limits allow attachments, and its hook compute does not take work"
    return None


def _unfit_settings(cls: object) -> str | None:
    if cls is None:
        return None
    if not (isinstance(cls, type) and attrs.has(cls)):
        return f"its settings class is {shown(cls)}, not an attrs class"
    if fault := find_fault(cls):
        return f"its settings class does not go to JSON and back: {fault}"
    for field in attrs.fields(cls):
        if field.metadata.get("stated") and not field.repr:
            return f"its setting {field.name} is a secret, and receipts would state it"
    return None


def _unfit_seal(seal_type: object, hooks: Collection[str]) -> str | None:
    if not isinstance(seal_type, SealType):
        return f"its hook seal_type returned {shown(seal_type)}, not a SealType"
    if seal_type.kind == SIGNATURE:
        return f"{SIGNATURE} is the framework's own kind of seal"
    if not OF_ONE_SEAL.issubset(hooks):
        missing = ", ".join(sorted(OF_ONE_SEAL.difference(hooks)))
        return f"it registers the kind of seal {seal_type.kind} and does not implement {missing}"
    return None


def _unfit_kind(kind: object) -> str | None:
    if not isinstance(kind, InputKind):
        return f"its hook input_kind returned {shown(kind)}, not an InputKind"
    what = type(kind).__name__
    for attribute in ("name", "version"):
        if not isinstance(getattr(kind, attribute, None), str):
            return f"its kind of data {what} must state its {attribute} as a string"
    if not re.fullmatch(KIND_NAME, kind.name):
        return f"its kind of data {what} has the name {shown(kind.name)}, not of {KIND_NAME}"
    if kind.name in _builtin_kinds():
        return f"{kind.name} is the framework's own kind of data"
    classes: tuple[tuple[str, object], ...] = tuple(
        (attribute, getattr(kind, attribute, None))
        for attribute in ("need_type", "data_type", "facts_type", "evidence_type", "settings_type")
    )
    for attribute, cls in classes:
        if cls is None and attribute in ("evidence_type", "settings_type"):
            continue
        if not (isinstance(cls, type) and attrs.has(cls)):
            return f"its kind of data {kind.name} has as {attribute} {shown(cls)}, no attrs class"
        if fault := find_fault(cls):
            return f"the {attribute} of {kind.name} does not go to JSON and back: {fault}"
        if "<locals>" in cls.__qualname__:
            return f"the {attribute} of {kind.name} must stand at the top level of a module"
    if kind.evidence_type is not None:
        for method in ("answers", "check"):
            if getattr(type(kind), method) is getattr(InputKind, method):
                return f"its kind of data {kind.name} has evidence, and no method {method}"
    return None


def _other_version(module: ModuleType) -> str | None:
    """Say what is wrong with the API version that a plugin states it was written for."""
    stated: object = vars(module).get(STATED_VERSION)
    if type(stated) is not int:
        how = "states none" if stated is None else f"has {STATED_VERSION} = {shown(stated)}"
        return (
            f"its API version is not known: {module.__name__} {how}; its author writes "
            f"{STATED_VERSION} = {API_VERSION} there, if it is written for this version"
        )
    if stated == API_VERSION:
        return None
    newer = stated > API_VERSION
    other = "a newer prover-framework" if newer else f"an older prover-framework of API {stated}"
    return (
        f"it is written for API version {stated} and this is version {API_VERSION}: install "
        f"a version of the plugin that fits, or {other}"
    )


def _refuse_large(plugin: Plugin, attachment_bytes: int) -> Plugin:
    """Refuse a plugin whose results may have more attached than is stored here."""
    if plugin.proof_type is None or plugin.failure:
        return plugin
    limits = plugin.proof_type.limits
    if not limits.attachments or limits.attachments_bytes <= attachment_bytes:
        return plugin
    return attrs.evolve(
        plugin,
        failure=(
            f"its results may have attachments of {limits.attachments_bytes:,} bytes, and this "
            f"service stores {attachment_bytes:,} of one result at the most (PROVER_ATTACHMENTS_MB)"
        ),
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
    if plugin.input_kind and not plugin.failure:
        words.append(f"the kind of data {plugin.input_kind.name}")
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
    """Return callers of all hooks that call this plugin and no other that is registered now."""
    others = [plugin for name, plugin in manager.list_name_plugin() if name != candidate.module]
    return {
        name: manager.subset_hook_caller(name, remove_plugins=others)
        for name, caller in vars(manager.hook).items()
        # A hook that is none has a caller, too, once somebody has tried to implement it.
        if isinstance(caller, pluggy.HookCaller) and caller.has_spec()
    }
