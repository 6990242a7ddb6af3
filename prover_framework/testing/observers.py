"""What every observer has to do, as tests that its author inherits."""

import copy
import locale
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import attrs
import pytest

from prover_framework.errors import PluginError
from prover_framework.jobs import events
from prover_framework.model.jobs import JobChange, JobState
from prover_framework.model.proofs import RangeParameters
from prover_framework.model.receipts import GroupEnd
from prover_framework.plugins.calls import Observer
from prover_framework.testing import stand_in
from prover_framework.testing.box import service_in_a_box
from prover_framework.testing.changes import change_of, every_transition, odd_changes
from prover_framework.testing.checks import (
    Conformance,
    fail,
    loaded_plugins,
    require_entry_point,
)
from prover_framework.testing.ends import usual_ends
from prover_framework.testing.series import series_of

TWO_HOURS = RangeParameters(start_timestamp=0, end_timestamp=7200)
NO_HOUR = RangeParameters(start_timestamp=0, end_timestamp=1)

# Between two changes to the same state.
LATER_MS = 60_000


class _Observes(Conformance):
    """What the tests of both hooks of observers share."""

    seconds: float = 60.0

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)

    def _call(self, hook: str, call: Callable[[], None], what: str) -> None:
        """Call a hook as a service does: in a thread, which may be stuck for good."""
        refusals: list[str] = []

        def tell() -> None:
            try:
                call()
            except PluginError as error:
                refusals.append(str(error))

        thread = threading.Thread(target=tell, daemon=True)
        thread.start()
        thread.join(self.seconds)
        if thread.is_alive():
            fail(f"{what}: its hook {hook} has not returned after {self.seconds:g} s")
        if refusals:
            fail(f"{what}: {refusals[0]}")


class ObserverConformance(_Observes):
    """Tests that every observer has to pass. Inherit from it as ``Test...``.

    The attributes are those of `Conformance`, but for these:

    Attributes:
        samples: Changes that it is told; one for each way from state to state, unless said.
        variables: Variables of the service's environment, from which it has its settings.
        seconds: How long it may take over one change. Others wait for it then, and no job does.
    """

    samples: Sequence[JobChange] = tuple(every_transition())

    @pytest.fixture(scope="class")
    @classmethod
    def observer(cls) -> Observer:
        """The observer, loaded as a service loads it."""
        observers = loaded_plugins(cls.plugin).observers
        if not observers:
            fail(f"{cls.plugin.__name__} observes nothing: it has no hook job_changed")
        return observers[0]

    def test_it_is_found_through_its_entry_point(self, observer: Observer) -> None:
        """One distribution offers the module to the service, and says that it needs the core."""
        del observer
        require_entry_point(self.plugin, None)

    # Changes

    def test_it_takes_a_change(self, sample: JobChange, observer: Observer) -> None:
        """It returns nothing, raises nothing, and comes to an end."""
        self._tell(observer, sample, f"a change to {sample.new_state}")

    def test_it_takes_odd_changes(self, observer: Observer) -> None:
        """Proof types that it has never heard of, results of any form, messages with any signs."""
        for what, change in odd_changes():
            self._tell(observer, change, what)

    def test_it_takes_a_state_again(self, observer: Observer) -> None:
        """A job can end more than once: an operator may have it tried again."""
        first = change_of(JobState.FAILED)
        again = attrs.evolve(first, changed_at_ms=first.changed_at_ms + LATER_MS, attempts=2)
        for change in (first, again, again):
            self._tell(observer, change, "a job that has ended before")

    def test_it_alters_no_change(self, sample: JobChange, observer: Observer) -> None:
        """What it is told is not its to write to."""
        before = copy.deepcopy(sample)
        self._tell(observer, sample, f"a change to {sample.new_state}")
        if sample != before:
            fail(f"its hook job_changed has altered {before!r} to {sample!r}")

    # Service

    def test_it_leaves_the_process_as_it_is(self, sample: JobChange, observer: Observer) -> None:
        """It runs in the service itself, which has one environment, directory and log for all."""
        with _unaltered("job_changed"):
            self._tell(observer, sample, f"a change to {sample.new_state}")

    def test_a_service_tells_it(self, observer: Observer, caplog: pytest.LogCaptureFixture) -> None:
        """In a whole service nothing is to be said of it in the log, and jobs end as ever."""
        caplog.set_level(logging.WARNING, logger=events.__name__)
        with service_in_a_box(self.plugin, stand_in, series=series_of([(10, 2)] * 2)) as box:
            ended = [box.prove(stand_in.NAME, hours).status for hours in (TWO_HOURS, NO_HOUR)]
        said = [r.getMessage() for r in caplog.records if r.name == events.__name__]
        if said:
            fail(f"the service says of {observer.candidate.name}: {said[0]}")
        if ended != [JobState.SUCCEEDED, JobState.FAILED]:
            fail(f"with it in the service, jobs end otherwise: {', '.join(ended)}")

    # What the tests share

    def _tell(self, observer: Observer, change: JobChange, what: str) -> None:
        self._call("job_changed", lambda: observer.job_changed(change), what)


class GroupObserverConformance(_Observes):
    """Tests that every plugin with the hook ``group_ended`` has to pass. Inherit from it likewise.

    The attributes are those of `Conformance`, but for these:

    Attributes:
        samples: Ends of groups that it is told; with one result, two and none, unless said.
        variables: Variables of the service's environment, from which it has its settings.
        seconds: How long it may take over one end.
    """

    samples: Sequence[GroupEnd] = tuple(usual_ends())

    @pytest.fixture(scope="class")
    @classmethod
    def group_observer(cls) -> Observer:
        """The observer, loaded as a service loads it."""
        observers = loaded_plugins(cls.plugin).group_observers
        if not observers:
            fail(f"{cls.plugin.__name__} is not told of ends: it has no hook group_ended")
        return observers[0]

    def test_it_is_found_through_its_entry_point(self, group_observer: Observer) -> None:
        """One distribution offers the module to the service, and says that it needs the core."""
        del group_observer
        require_entry_point(self.plugin, None)

    def test_it_takes_an_end_once_and_again(
        self, sample: GroupEnd, group_observer: Observer
    ) -> None:
        """It returns nothing and raises nothing, also where it has been told before."""
        self._tell_end(group_observer, sample, f"a group that is {sample.state}")
        self._tell_end(group_observer, sample, "an end that it has been told before")

    def test_it_alters_no_end(self, sample: GroupEnd, group_observer: Observer) -> None:
        """What it is told is not its to write to."""
        before = copy.deepcopy(sample)
        self._tell_end(group_observer, sample, f"a group that is {sample.state}")
        if sample != before:
            fail(f"its hook group_ended has altered the end of {before.group_id}")

    def test_an_end_leaves_the_process_as_it_is(
        self, sample: GroupEnd, group_observer: Observer
    ) -> None:
        """It runs in the service itself, which has one environment, directory and log for all."""
        with _unaltered("group_ended"):
            self._tell_end(group_observer, sample, f"a group that is {sample.state}")

    def test_a_service_tells_it_of_an_end(self, group_observer: Observer) -> None:
        """In a whole service the end of a group is told, and nothing is left to be told."""
        with service_in_a_box(self.plugin, stand_in, series=series_of([(10, 2)] * 2)) as box:
            for hours in (TWO_HOURS, NO_HOUR):
                box.prove(stand_in.NAME, hours)
            try:
                box.notified(seconds=self.seconds)
            except TimeoutError:
                name = group_observer.candidate.name
                fail(f"the service cannot tell {name} of the ends of groups; the log says why")

    def _tell_end(self, observer: Observer, end: GroupEnd, what: str) -> None:
        self._call("group_ended", lambda: observer.group_ended(end), what)


@contextmanager
def _unaltered(hook: str) -> Iterator[None]:
    """Require that what the body calls leaves what belongs to all of the process as it is."""
    before = _process()
    yield
    after = _process()
    altered = [name for name, value in before.items() if after[name] != value]
    if altered:
        fail(f"its hook {hook} has altered {', '.join(altered)} of the whole service")


def _process() -> dict[str, object]:
    """Return what belongs to all of a process."""
    return {
        "the working directory": os.getcwd(),  # noqa: PTH109 - a Path is made of it each time
        "the environment": dict(os.environ),
        "the time zone": time.tzname,
        "the locale": locale.setlocale(locale.LC_ALL),
        "the import path": tuple(sys.path),
        "the time limit of sockets": socket.getdefaulttimeout(),
        "the level of the log": logging.getLogger().level,
        "the handlers of the log": tuple(logging.getLogger().handlers),
    }
