"""What every proof type has to do, as tests that it runs against itself."""

import asyncio
import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, cast

import attrs
import pytest
from attrs import field, frozen
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from prover_framework.chain.headers import EncodedHeader, Header
from prover_framework.charts.svg import draw as draw_svg
from prover_framework.charts.terminal import draw_text
from prover_framework.errors import (
    ComputeError,
    PluginError,
    ProofError,
    ProverError,
    RequestError,
)
from prover_framework.jobs.requests import dump_parameters
from prover_framework.model.attachments import AttachmentPlace
from prover_framework.model.findings import Outcome
from prover_framework.model.inputs import Need
from prover_framework.model.jobs import JobState
from prover_framework.model.proofs import JobRequest, RangeParameters
from prover_framework.model.series import HOUR_SECONDS, HourlySeries
from prover_framework.model.views import JobView
from prover_framework.plugins.calls import KindHooks, ProofHooks
from prover_framework.receipts.documents import dump_receipt
from prover_framework.receipts.evidence import EVIDENCE
from prover_framework.sandbox.attachments import Attached, take_in
from prover_framework.sandbox.calls import CHART_SECONDS, attaches, hook_call
from prover_framework.sandbox.hooks import CHARTS, COMPUTE, Charts, Hook
from prover_framework.sandbox.protocol import HookCall
from prover_framework.serialization.converter import structure, unstructure, unstructure_object
from prover_framework.serialization.json_schema import schema_of
from prover_framework.serialization.json_text import Json, parse_json
from prover_framework.testing.box import SETTINGS, Box, service_in_a_box
from prover_framework.testing.checks import (
    WatchedConformance,
    alterations,
    fail,
    load_data,
    loaded_plugins,
    require_entry_point,
)
from prover_framework.testing.compute import ComputeProcess, computation_of
from prover_framework.testing.data import headers_for, hours_wanted, simulated_data
from prover_framework.testing.series import series_of
from prover_framework.testing.watched import AGAIN
from prover_framework.verification.checks import Report

# One line of a table, and of an error that begins with it.
MAX_TITLE_LENGTH = 60

# Values that most parameters cannot have. One that a parameter can have must keep its form.
ODD_VALUES: tuple[Json, ...] = (None, True, -1, 1.5, 2**63, "text", [], {})

# Of a terminal.
TERMINAL_WIDTH = 100

UNKNOWN_PARAMETER = "no_such_parameter"


@frozen
class Made:
    """A result that a compute process made of a sample.

    Args:
        parameters: The sample.
        data: What it was made of, by the names of its inputs.
        form: Its JSON form.
        attached: What is attached to it, by name.
    """

    parameters: Any
    data: Mapping[str, Any]
    form: dict[str, Json] = field(repr=False)
    attached: Mapping[str, Attached] = field(factory=dict, repr=False)

    @property
    def stated(self) -> Json:
        """What a statement says of what is attached."""
        return {name: unstructure(each.stated) for name, each in sorted(self.attached.items())}

    @property
    def files(self) -> dict[str, Path]:
        """The files that are attached, by name."""
        return {name: each.path for name, each in self.attached.items()}


class ProofTypeConformance(WatchedConformance):
    """Tests that a proof type passes before others trust it.

    Inherit, and say what to test::

        class TestHighestHour(ProofTypeConformance):
            plugin = prover_highest_hour
            samples = (Parameters(start_timestamp=1704067200, end_timestamp=1704153600),)

    Attributes:
        plugin: The module with the hooks, that of the entry point.
        samples: Parameters for which there is a result, at least one set of them. Two or three
            that differ in every parameter test more.
        wrong: Names of parameters with values that must be refused. Values of another type, and
            beyond the bounds in the JSON Schema, are tried in any case.
        others: Modules of other plugins, whose kinds of data it asks for.
        variables: Settings of those kinds, each under its variable ``PROVER_PLUGIN__...``.
        touches: What its hooks touch beside their arguments, each with the reason: the beginning of
            what the test says of it, such as ``did subprocess.Popen`` or ``read /opt/prover``.
        exceptions: Names of tests that it cannot pass, each with the reason, for people who ask
            what they can rely on. They are skipped with it.
    """

    others: Sequence[ModuleType] = ()

    @classmethod
    def data(cls, name: str, need: Need) -> Any:
        """Return the data that a sample is computed from, as its hook ``inputs`` asks for it.

        The framework's own kinds give data of a simulated chain; those of `others` load it with
        `variables`. Override this for data of your own, such as `series_of` makes.

        Args:
            name: Name of the input.
            need: What the plugin asks for.
        """
        kind = cls._kinds().get(need.kind)
        if kind is not None and not kind.is_builtin:
            return load_data(kind, need.query, cls.variables).data
        try:
            return simulated_data(need)
        except LookupError as error:
            fail(
                f"the input {name}: {error}; name the plugin of its kind in others, or write the "
                "classmethod data(cls, name, need)"
            )

    @classmethod
    def _kinds(cls) -> Mapping[str, KindHooks]:
        return loaded_plugins(cls.plugin, *cls.others).kinds

    @classmethod
    def all_data(cls, needs: Mapping[str, Need]) -> dict[str, Any]:
        """Return the data of all inputs, by name."""
        return {name: cls.data(name, need) for name, need in needs.items()}

    @classmethod
    def headers(cls, data: Mapping[str, Any]) -> Iterable[Header | EncodedHeader]:
        """Return the headers from which a whole service loads the data of a sample."""
        return headers_for(data)

    @pytest.fixture(scope="class")
    @classmethod
    def proof(cls) -> ProofHooks:
        """The hooks of the proof type, loaded as a service loads them."""
        plugins = loaded_plugins(cls.plugin)
        if not plugins.hooks:
            fail(f"{cls.plugin.__name__} registers no proof type: it has no hook proof_type")
        (hooks,) = plugins.hooks.values()
        return hooks

    @pytest.fixture(scope="class")
    @classmethod
    def process(cls) -> Iterator[ComputeProcess]:
        """A compute process for all tests of the class."""
        with ComputeProcess(cls._kinds()) as process:
            yield process

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, sample: Any, proof: ProofHooks, process: ComputeProcess) -> Made:
        """The result of a sample, from a compute process under the declared limits.

        The process has checked that it is of the declared class and survives the way to JSON.
        """
        data = cls.all_data(_needs(proof, sample))
        form = _compute(process, proof, sample, data)
        return Made(sample, data, form, process.attached)

    # Registration

    def test_it_is_found_through_its_entry_point(self, proof: ProofHooks) -> None:
        """One distribution offers the module to the service, and says that it needs the core."""
        require_entry_point(self.plugin, proof.proof_type.name)

    def test_people_can_read_its_title_and_version(self, proof: ProofHooks) -> None:
        """Title and version stand in messages: something, in one short line."""
        for what in ("title", "version"):
            text: str = getattr(proof.proof_type, what)
            if not text or text != " ".join(text.split()) or len(text) > MAX_TITLE_LENGTH:
                fail(
                    f"the {what} {text!r} must be one line of 1 to {MAX_TITLE_LENGTH} characters "
                    "without spaces around it"
                )

    def test_its_result_has_a_number_under_its_name(self, made: Made, proof: ProofHooks) -> None:
        """Clients find the number under the name of the proof type, beside the evidence."""
        name = proof.proof_type.name
        # Numbers beyond doubles travel as text.
        if type(made.form.get(name)) not in (int, float, str):
            fail(f"the result's field {name} must hold a number, got {made.form.get(name)!r}")
        if EVIDENCE in made.form:
            fail(f"the result must not have a field {EVIDENCE}: the service's own is there")

    # Parameters

    def test_samples_go_to_json_and_back(self, sample: Any, proof: ProofHooks) -> None:
        """Parameters are stored and sent as JSON, and what is read again is what was written."""
        cls = proof.proof_type.parameters
        if not isinstance(sample, cls):
            fail(f"the sample {sample!r} is no {cls.__name__}")
        text = dump_parameters(sample)
        again = structure(parse_json(text.encode()), cls)
        if again != sample:
            fail(f"{sample!r} is {again!r} after it went through JSON")
        _require_picklable(sample)

    def test_its_json_schema_tells_what_there_is(self, made: Made, proof: ProofHooks) -> None:
        """Who reads the schema knows each parameter, and is right about parameters and results."""
        schema = schema_of(proof.proof_type.parameters)
        properties = cast(dict[str, dict[str, Json]], schema["properties"])
        for name, told in properties.items():
            if not told.get("description"):
                fail(
                    f"the docstring of {proof.proof_type.parameters.__name__} must describe "
                    f"{name} under Args:, for people who ask which parameters there are"
                )
        _require_fitting(schema, unstructure_object(made.parameters), "the sample")
        _require_fitting(schema_of(proof.proof_type.result), made.form, "the result")

    def test_samples_are_sound(self, sample: Any, proof: ProofHooks) -> None:
        """No hook that is asked when a request comes in objects to a sample."""
        if problems := proof.validate(sample):
            fail(f"its hook validate objects to {sample!r}: {'; '.join(map(str, problems))}")
        _needs(proof, sample)
        proof.dispatch(JobRequest(proof.proof_type.name, sample))

    def test_wrong_parameters_are_refused_by_name(self, proof: ProofHooks) -> None:
        """Whoever sends a wrong parameter is told which one it is."""
        form = unstructure_object(self.samples[0])
        schema = schema_of(proof.proof_type.parameters)
        for name in form:
            absent = {key: value for key, value in form.items() if key != name}
            odd_ones = [*ODD_VALUES, *_around_bounds(schema, name)]
            for odd in (absent, *({**form, name: value} for value in odd_ones)):
                if not self._refuses(proof, odd, name):
                    self._keeps(proof, odd)
                    _require_fitting(schema, odd, f"the parameters, {_said(odd, name)},")
        for name, value in self.wrong:
            if not self._refuses(proof, {**form, name: value}, name):
                fail(f"{name} = {value!r} is accepted and should be refused")
        if not self._refuses(proof, {**form, UNKNOWN_PARAMETER: 1}, UNKNOWN_PARAMETER):
            fail(f"a parameter that does not exist ({UNKNOWN_PARAMETER}) is accepted")

    def _refuses(self, proof: ProofHooks, form: Mapping[str, Json], name: str) -> bool:
        """Tell whether a request with these parameters is refused, as it should be if at all."""
        key = proof.proof_type.name
        try:
            parameters = structure(cast(Json, form), proof.proof_type.parameters, key)
            problems: Sequence[object] = proof.validate(parameters)
        except RequestError as error:
            problems = error.problems
        if not problems:
            return False
        if not any(name in str(problem) for problem in problems):
            fail(
                f"{_said(form, name)}: refused with a message that does not name {name}: "
                f"{'; '.join(map(str, problems))}"
            )
        return True

    def _keeps(self, proof: ProofHooks, form: Mapping[str, Json]) -> None:
        """Require that parameters which are accepted are those that were sent."""
        read = unstructure_object(structure(cast(Json, form), proof.proof_type.parameters))
        for name, value in form.items():
            if read[name] != value:
                fail(f"{name} = {value!r} is accepted and silently becomes {read[name]!r}")

    # Computing

    def test_it_computes_plain_data_within_its_limits(self, made: Made, proof: ProofHooks) -> None:
        """A compute process makes the result within the declared time and memory."""
        _require_picklable(structure(cast(Json, made.form), proof.proof_type.result))

    def test_it_computes_the_same_digits_again(
        self, made: Made, proof: ProofHooks, process: ComputeProcess
    ) -> None:
        """The same arguments give the same digits, a second time in the same process.

        What is attached has the same bytes.
        """
        again = _compute(process, proof, made.parameters, made.data)
        when = "a second time in the same process"
        _require_same(made.form, again, when)
        second = Made(made.parameters, made.data, again, process.attached)
        _require_same(made.stated, second.stated, when, "what is attached")

    def test_it_computes_from_its_arguments_alone(self, made: Made, proof: ProofHooks) -> None:
        """Another process gives the same digits, and no hook touches a file or a socket."""
        # It computes, and to verify it computes again.
        seconds = 2 * proof.proof_type.limits.seconds
        with TemporaryDirectory(prefix="prover-attached-") as directory:
            place = _watched_place(proof, Path(directory))
            call = attrs.evolve(_call_on(COMPUTE, proof, made, self._kinds()), place=place)
            result = self.watch(call, seconds=seconds)
            attached = asyncio.run(take_in(place, proof.candidate.name)).attached
        again = attrs.evolve(made, attached={each.name: each for each in attached})
        when = "in another process, directory and time zone"
        _require_same(made.form, result, when)
        _require_same(made.stated, again.stated, when, "what is attached")

    def test_odd_hours_give_a_result_or_a_refusal(
        self, proof: ProofHooks, process: ComputeProcess
    ) -> None:
        """Few hours, fees that do not move, fees of zero: a result, or a `ProofError` with words.

        Anything else would be tried again and again, and would fail each time.
        """
        sample = self.samples[0]
        data = self.all_data(_needs(proof, sample))
        (name, *others) = data or [""]
        if others or not isinstance(series := data.get(name), HourlySeries):
            pytest.skip("it is not computed from hourly base fees alone")
        for what, odd in _odd_series(len(series)):
            parameters = _over(sample, odd)
            try:
                proof.inputs(parameters)
                process.compute(proof, parameters, {name: odd})
            except ProofError as refusal:
                if not str(refusal):
                    fail(f"{what}: refused without a word")
            except ComputeError as error:
                fail(f"{what}: it fails, where a ProofError should say why: {error}")

    def test_an_empty_range_is_refused_with_words(self, proof: ProofHooks) -> None:
        """A range without a whole hour is a valid request and an impossible proof."""
        sample = self.samples[0]
        if not isinstance(sample, RangeParameters):
            pytest.skip("its parameters have no range")
        empty = attrs.evolve(sample, start_timestamp=1234567890, end_timestamp=1234567891)
        try:
            ranges = list(filter(None, map(hours_wanted, _needs(proof, empty).values())))
            for wanted in ranges:
                wanted.require_hours()
        except ProofError as refusal:
            if not str(refusal):
                fail("an empty range is refused without a word")
        else:
            if ranges:
                fail("for a range without a whole hour its hook inputs asks for other hours")

    # Verification

    def test_its_own_result_is_accepted(
        self, made: Made, proof: ProofHooks, process: ComputeProcess
    ) -> None:
        """Who checks a true result is told that it is true."""
        verdict = process.verify(proof, made.parameters, made.data, made.form, made.files)
        if not verdict.accepted:
            fail(f"its hook verify refuses its own result: {verdict.reason}")

    def test_an_altered_result_is_refused(
        self, made: Made, proof: ProofHooks, process: ComputeProcess
    ) -> None:
        """Every single value of a result is checked: altered, the result is refused with words."""
        for place, altered in alterations(made.form):
            try:
                verdict = process.verify(
                    proof,
                    made.parameters,
                    made.data,
                    cast(dict[str, Json], altered),
                    made.files,
                )
            except ProverError as error:
                fail(f"with {place} altered its hook verify raises, not returns: {error}")
            if verdict.accepted:
                fail(f"its hook verify accepts a result with {place} altered")
            if not verdict.reason:
                fail(f"its hook verify refuses a result with {place} altered without a word")

    # Charts

    def test_its_charts_come_from_its_result_alone(
        self, made: Made, proof: ProofHooks, process: ComputeProcess
    ) -> None:
        """What it describes, if anything, is the same in any process, and can be drawn.

        To look at a result touches no file and no socket.
        """
        if not proof.implements(CHARTS.name):
            return
        try:
            charts = process.charts(proof, made.parameters, made.data, made.form)
        except (ComputeError, ProofError) as error:
            fail(f"nobody can look at a result: {error}")
        for chart in charts:
            if not all(text.strip() for text in (chart.title, chart.x.title, chart.y.title)):
                fail(f"the chart {chart.name} and its axes must have titles")
            draw_svg(chart)
            draw_text(chart, TERMINAL_WIDTH)
        call = _call_on(CHARTS, proof, made, self._kinds(), result=made.form)
        again = self.watch(call, seconds=CHART_SECONDS)
        when = "in another process, directory and time zone"
        _require_same(unstructure(Charts(charts)), again, when, "what its hook charts describes")

    # Service

    def test_a_service_proves_it_and_checks_it(self, proof: ProofHooks) -> None:
        """Submitted to a whole service it ends with a result that the service can check."""
        sample, name = self.samples[0], proof.proof_type.name
        data = self.all_data(_needs(proof, sample))
        settings = attrs.evolve(SETTINGS, plugin_variables=dict(self.variables))
        modules = (self.plugin, *self.others)
        with service_in_a_box(*modules, headers=self.headers(data), settings=settings) as box:
            group = box.prove(name, sample)
            (job,) = group.jobs
            if job.status is not JobState.SUCCEEDED:
                fail(f"the job is {job.status}: {job.error}")
            report = _verified(box, job, group.job_group_id)
        if not report.accepted:
            (why, *_) = (
                check.reason
                for check in report.checks
                if check.outcome is Outcome.FAILED
                or (check.asked and check.outcome is not Outcome.PASSED)
            )
            fail(f"the service refuses its own receipt: {why}")


def _verified(box: Box, job: JobView, group_id: str) -> Report:
    """Have a service check its receipt of a group with one job, with all that is attached."""
    if not job.attachments:
        return box.verify(group_id)
    body = dump_receipt(box.receipt(group_id))
    with TemporaryDirectory(prefix="prover-attachments-") as directory:
        files = {each.name: Path(directory) / each.name for each in job.attachments}
        for name, path in files.items():
            path.write_bytes(box.attachment(group_id, job.job_id, name))
        return box.verify_with(body, files)


def _needs(proof: ProofHooks, parameters: Any) -> dict[str, Need]:
    try:
        return proof.inputs(parameters)
    except PluginError as error:
        fail(str(error))


def _compute(
    process: ComputeProcess, proof: ProofHooks, parameters: Any, data: Mapping[str, Any]
) -> dict[str, Json]:
    limits = proof.proof_type.limits
    try:
        return process.compute(proof, parameters, data)
    except (ComputeError, ProofError) as error:
        fail(
            f"{parameters!r} has no result ({error.code}: {error}); the declared limits are "
            f"{limits.seconds:g} s and {limits.memory_bytes / 2**20:,.0f} MiB"
        )


def _watched_place(proof: ProofHooks, directory: Path) -> AttachmentPlace | None:
    limits = proof.proof_type.limits
    if not attaches(proof, limits):
        return None
    (directory / AGAIN).mkdir()
    return limits.attachment_place(directory)


def _call_on(
    hook: Hook[Any], proof: ProofHooks, made: Made, kinds: Mapping[str, KindHooks], **more: object
) -> HookCall:
    """Return the call of a hook with what a result was computed from, and more."""
    computation = computation_of(proof, made.parameters, made.data, kinds)
    return hook_call(
        hook,
        proof,
        proof.proof_type.limits.memory_bytes,
        parameters=computation.form,
        inputs=computation.given,
        seed=computation.seed,
        settings=computation.settings,
        **more,
    )


def _said(form: Mapping[str, Json], name: str) -> str:
    return f"{name} = {form[name]!r}" if name in form else f"{name} left out"


def _around_bounds(schema: Mapping[str, Json], name: str) -> Iterator[Json]:
    """Yield the bounds of a parameter that its schema tells, and what lies on either side."""
    told = cast(dict[str, dict[str, Json]], schema["properties"])[name]
    for word in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        if isinstance(bound := told.get(word), int | float):
            yield from (bound - 1, bound, bound + 1)


def _require_fitting(schema: Mapping[str, Json], form: Mapping[str, Json], what: str) -> None:
    """Require that a schema has nothing against what the service takes or gives."""
    error = best_match(Draft202012Validator(schema).iter_errors(form))
    if error is not None:
        fail(f"{what} can be had and does not fit the JSON Schema: {error.message}")


def _require_picklable(value: object) -> None:
    try:
        again = pickle.loads(pickle.dumps(value))  # noqa: S301 - made in this line
    except Exception as error:
        fail(f"{value!r} cannot be pickled: {error}")
    if again != value:
        fail(f"{value!r} is {again!r} after it was pickled")


def _require_same(first: Json, second: Json, when: str, what: str = "the result") -> None:
    one, other = (json.dumps(form, sort_keys=True, indent=1) for form in (first, second))
    if one != other:
        line = next(
            (pair for pair in zip(one.splitlines(), other.splitlines(), strict=False)
             if pair[0] != pair[1]),
            (one, other),
        )  # fmt: skip
        fail(f"{what} is another one {when}: {line[0].strip()} became {line[1].strip()}")


def _odd_series(hours: int) -> Iterator[tuple[str, HourlySeries]]:
    for few in (1, 2, 3, 25):
        yield f"a range of {few} h", series_of([(10**12 + hour, 100) for hour in range(few)])
    yield "fees that do not move", series_of([(10**12, 100)] * hours)
    yield "fees of zero", series_of([(0, 100)] * hours)
    yield "fees of 1 wei in some hours", series_of([(hour % 2, 1) for hour in range(hours)])


def _over(sample: Any, series: HourlySeries) -> Any:
    """Return the sample over the range of a series, where it has a range."""
    if not isinstance(sample, RangeParameters):
        return sample
    return attrs.evolve(
        sample,
        start_timestamp=series.first_hour,
        end_timestamp=series.last_hour + HOUR_SECONDS,
    )
