"""The checks on the receipt of one proof that ask for its method: plugin, seed, result."""

from collections.abc import Mapping, Sequence

from prover_framework.errors import (
    AttachmentMissing,
    ComputeError,
    DataNotYet,
    NoExactForm,
    PluginError,
    ProofError,
    RequestError,
    SettingsError,
)
from prover_framework.model.findings import Finding
from prover_framework.model.inputs import Need
from prover_framework.model.receipts import Receipt, Statement
from prover_framework.plugins.calls import ProofHooks
from prover_framework.plugins.package_digest import version_in
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.computation import Computation
from prover_framework.proofs.own_settings import OwnSettings
from prover_framework.proofs.parameters import parameters_beside_range, range_of, with_range
from prover_framework.proofs.seed import SEED_DERIVATION, derive_seed
from prover_framework.receipts.canonical import canonical
from prover_framework.sandbox import calls
from prover_framework.sandbox.attachments import take_in
from prover_framework.sandbox.hooks import VERIFY
from prover_framework.sandbox.slot import Slot
from prover_framework.serialization.converter import structure
from prover_framework.settings import Settings
from prover_framework.text import describe, quote
from prover_framework.verification.attachments import (
    GivenFiles,
    Judged,
    attachment_place,
    judged,
    without_computation,
)
from prover_framework.verification.input_checks import ANOTHER_BUILD, CheckedInput


class ProofChecks:
    """Checks receipts of proofs with the plugins that are installed here.

    Args:
        settings: Limits of computations.
        plugins: What is installed.
        slot: Where plugins do their part.
    """

    def __init__(self, settings: Settings, plugins: Plugins, slot: Slot) -> None:
        self._settings = settings
        self._plugins = plugins
        self._slot = slot
        self._own_settings = OwnSettings(settings, plugins)

    def plugin(self, receipt: Receipt) -> Finding:
        """Compare the method that a receipt names with the one that is installed."""
        statement = receipt.statement
        hooks = self._plugins.hooks.get(statement.proof_type)
        if hooks is None:
            return self._not_installed(statement)
        proof_type, candidate = hooks.proof_type, hooks.candidate
        known = (proof_type.version, *proof_type.verifies)
        if statement.method_version not in known:
            return Finding.not_possible(
                f"method_version: it is by version {quote(statement.method_version)} of the "
                f"method, and what is installed here judges {', '.join(known)}"
            )
        if statement.generator != proof_type.generator:
            return Finding.failed(
                f"generator: it is stated as {describe(statement.generator)}, and version "
                f"{proof_type.version} of the method has {describe(proof_type.generator)}"
            )
        if statement.plugin_digest != hooks.package_digest:
            theirs = version_in(receipt.provenance.software, candidate.distribution)
            return Finding.passed(
                f"version {quote(statement.method_version)}, by {ANOTHER_BUILD}: "
                f"{candidate.distribution} {quote(theirs or 'unknown')} there, "
                f"{candidate.version} here"
            )
        return Finding.passed(f"version {proof_type.version}, file for file what is installed here")

    def _not_installed(self, statement: Statement) -> Finding:
        installed = ", ".join(sorted(self._plugins.hooks)) or "none"
        return Finding.not_possible(
            f"proof_type: {statement.proof_type} is not installed here (installed: {installed})"
        )

    async def needs(self, statement: Statement) -> dict[str, Need] | Finding:
        """Return what the proof type asks for, for the stated parameters; or why nobody knows."""
        hooks = self._plugins.hooks.get(statement.proof_type)
        if hooks is None:
            return self._not_installed(statement)
        if not _judges(hooks, statement):
            return Finding.not_possible("another version of the method is installed here")
        memory_bytes = self._settings.limits(hooks.proof_type.limits).memory_bytes
        try:
            return await _needs(self._slot, statement, hooks, memory_bytes)
        except (RequestError, ProofError, NoExactForm) as error:
            return Finding.failed(f"the statement is none of this proof type: {error}")
        except (ComputeError, PluginError, DataNotYet) as error:
            return Finding.not_possible(str(error))

    async def result(
        self,
        statement: Statement,
        needs: Mapping[str, Need] | Finding,
        checked: Sequence[CheckedInput],
        given: GivenFiles,
    ) -> Judged:
        """Have the plugin judge a result over the data that the inputs were found to be.

        Args:
            statement: What is claimed.
            needs: What data the method asks for, or why nobody knows.
            checked: What the inputs were found to be.
            given: The files that are there of what is attached to the result.
        """
        computation = self._computation(statement, needs, checked)
        if isinstance(computation, Finding):
            return without_computation(statement, given, computation)
        hooks = computation.hooks
        limits = self._settings.limits(hooks.proof_type.limits)
        try:
            with attachment_place(limits, given) as place:
                verdict = await calls.verify(
                    self._slot,
                    hooks,
                    limits,
                    parameters=computation.form,
                    inputs=computation.given,
                    seed=computation.seed,
                    claimed=statement.result,
                    settings=computation.settings,
                    place=place,
                )
                taken = await take_in(place, hooks.candidate.name)
        except ProofError as error:
            why = Finding.failed(f"result: the plugin refuses: {error}")
            return without_computation(statement, given, why)
        except AttachmentMissing as error:
            return without_computation(statement, given, Finding.not_possible(str(error)))
        except (ComputeError, PluginError, OSError) as error:
            why = Finding.not_possible(f"the computation did not come to an end: {error}")
            return without_computation(statement, given, why)
        found = (
            Finding.passed(verdict.reason)
            if verdict.accepted
            else Finding.failed(f"result: {verdict.reason}")
        )
        has_own_verify = hooks.implements(VERIFY.name)
        return judged(statement, given, found, taken, has_own_verify=has_own_verify)

    def _computation(
        self,
        statement: Statement,
        needs: Mapping[str, Need] | Finding,
        checked: Sequence[CheckedInput],
    ) -> Computation | Finding:
        """Return what is to be computed again, or why it cannot be."""
        if isinstance(needs, Finding):
            return needs
        for each in checked:
            if each.data is None:
                return Finding.not_possible(
                    f"there is no such {each.name or 'data'} to compute it from"
                )
        hooks = self._plugins.for_type(statement.proof_type)
        try:
            settings = self._own_settings.at_verification(hooks, statement.settings)
        except RequestError as error:
            return Finding.failed(f"settings: {error}")
        except SettingsError as error:
            return Finding.not_possible(f"the settings of {statement.proof_type} here: {error}")
        return Computation(
            hooks=hooks,
            version=statement.method_version,
            hours=statement.range,
            parameters=statement.parameters,
            loaded={each.name: each.data for each in checked if each.data is not None},
            settings=settings,
        )


def seed(statement: Statement, checked: Sequence[CheckedInput]) -> Finding:
    """Check that the seed follows from the statement."""
    if statement.seed_derivation != SEED_DERIVATION:
        return Finding.not_possible(
            f"seed_derivation: {quote(statement.seed_derivation)} is not known here, only "
            f"{SEED_DERIVATION}"
        )
    inputs = {each.name: each.seed_input for each in checked if each.seed_input is not None}
    if unknown := [name for name in statement.inputs if name not in inputs]:
        return Finding.not_possible(
            f"what of the input {unknown[0]} takes part in it is not known here"
        )
    unseeded = [name for name, seeded in inputs.items() if seeded.part is None]
    if statement.generator is not None and unseeded:
        return Finding.failed(
            f"the method draws numbers, and the input {unseeded[0]} has no part in the seed: "
            "whoever ran the job could choose them"
        )
    derived = derive_seed(
        proof_type=statement.proof_type,
        version=statement.method_version,
        hours=statement.range,
        parameters=statement.parameters,
        inputs=inputs,
    ).hex()
    if derived != statement.seed:
        return Finding.failed(
            f"seed: it is stated as {statement.seed}, and what follows from parameters and inputs "
            f"is {derived}"
        )
    return Finding.passed("it follows from the statement, so nobody chose it")


def _judges(hooks: ProofHooks, statement: Statement) -> bool:
    """Tell whether what is installed judges statements of a version of its method."""
    proof_type = hooks.proof_type
    return statement.method_version in (proof_type.version, *proof_type.verifies)


async def _needs(
    slot: Slot, statement: Statement, hooks: ProofHooks, memory_bytes: int
) -> dict[str, Need]:
    """Ask again what data the parameters of a statement need.

    Raises:
        RequestError: The parameters do not fit the plugin's class.
        ProofError: The plugin refuses them, or they are not in canonical form.
        NoExactForm: They have no canonical form.
        ComputeError: A hook of the plugin failed, or took too long.
        PluginError: The plugin misbehaves.
    """
    form = with_range(statement.parameters, statement.range)
    parameters = structure(form, hooks.proof_type.parameters)
    if problems := await calls.validate(slot, hooks, form, memory_bytes):
        raise RequestError(problems)
    if range_of(parameters) != statement.range:
        raise ProofError("range: it is not the one of the parameters")
    if canonical(parameters_beside_range(parameters)) != canonical(statement.parameters):
        raise ProofError("parameters: they are not as this proof type writes them")
    return await calls.inputs(slot, hooks, form, memory_bytes)
