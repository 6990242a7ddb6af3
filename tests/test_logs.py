"""The log has no line without end, and tells lasting trouble in few lines."""

import io
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prover_framework.logs import (
    LINES_OF_A_PLACE,
    MAX_REMEMBERED,
    PERIOD_SECONDS,
    SAME_LINES,
    BoundedHandler,
    Trouble,
)


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Log:
    """A logger of its own whose lines can be read."""

    def __init__(self) -> None:
        self.time = Time()
        self.stream = io.StringIO()
        self.handler = BoundedHandler(self.stream, self.time)
        self.logger = logging.Logger("test")  # noqa: LOG001 - nobody else's
        self.logger.addHandler(self.handler)

    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.handler.close()


def test_a_line_is_written_some_times_and_then_counted(log: Log) -> None:
    for _ in range(10_000):
        log.logger.error("no room for %s", "it")
    assert log.lines() == ["no room for it"] * SAME_LINES
    log.time.now += PERIOD_SECONDS
    log.logger.error("no room for %s", "it")
    assert log.lines()[SAME_LINES:] == [
        f"left out {10_000 - SAME_LINES} more lines of: no room for it",
        "no room for it",
    ]


def test_what_was_left_out_is_told_with_any_line_and_at_the_end(log: Log) -> None:
    for _ in range(SAME_LINES + 1):
        log.logger.error("one")
    log.time.now += PERIOD_SECONDS
    log.logger.info("two")
    assert log.lines()[SAME_LINES:] == ["left out 1 more lines of: one", "two"]
    for _ in range(SAME_LINES + 2):
        log.logger.error("three")
    log.handler.close()
    assert log.lines()[-1] == "left out 2 more lines of: three"


def test_lines_that_differ_are_bounded_by_their_place(log: Log) -> None:
    for number in range(5000):
        log.logger.warning("a message is strange: %d", number)
    assert len(log.lines()) == LINES_OF_A_PLACE
    log.logger.warning("another place")
    assert log.lines()[-1] == "another place"
    log.time.now += PERIOD_SECONDS
    log.logger.warning("after")
    left_out = 5000 - LINES_OF_A_PLACE
    assert f"left out {left_out} more lines like: a message is strange: 0" in log.lines()


def test_what_is_remembered_is_bounded(log: Log) -> None:
    for number in range(3 * MAX_REMEMBERED):
        # Each from a place of its own, so that only the memory for lines is in question.
        log.logger.handle(logging.LogRecord("x", logging.ERROR, "x", number, f"{number}", (), None))
    assert len(log.handler._lines) == len(log.handler._places) == MAX_REMEMBERED


def test_who_asks_for_details_gets_all_of_them(log: Log) -> None:
    trace = logging.Logger("prover_framework.plugins.trace")  # noqa: LOG001 - nobody else's
    trace.addHandler(log.handler)
    for _ in range(1000):
        trace.info("plugin twap: its hook compute returned")
        log.logger.debug("a detail")
    assert len(log.lines()) == 2000


def test_a_line_whose_arguments_do_not_fit_harms_nobody(
    log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    log.logger.error("%d", "no number")
    assert "TypeError" in capsys.readouterr().err
    log.logger.error("fits")
    assert log.lines() == ["fits"]


@given(steps=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=200))
def test_each_line_is_written_or_counted(steps: list[tuple[int, float]]) -> None:
    log = Log()
    for line, seconds in steps:
        log.time.now += seconds
        log.logger.error("line %d", line)
    log.handler.close()
    written = sum("left out" not in line for line in log.lines())
    left_out = sum(int(line.split()[2]) for line in log.lines() if "left out" in line)
    assert written + left_out == len(steps)


# Lasting trouble


def test_waits_grow_and_the_end_is_one_line(log: Log) -> None:
    trouble = Trouble("receiving", log.logger, clock=log.time)
    assert trouble.seconds_left == 0.0
    waits = []
    for _ in range(6):
        waits.append(trouble.failed(OSError("away")))
        assert trouble.seconds_left == waits[-1]
        log.time.now += waits[-1]
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    trouble.passed()
    trouble.passed()
    assert log.lines()[-1] == "receiving works again, after 6 failures in 35 s"
    assert trouble.seconds_left == 0.0
    assert trouble.failed(OSError("away")) == 1.0


def test_failures_within_a_wait_are_one_line_and_do_not_make_it_longer(log: Log) -> None:
    trouble = Trouble("a heartbeat", log.logger, clock=log.time)
    for _ in range(100):
        assert 0 < trouble.failed(OSError("away")) <= 1.0
        log.time.now += 0.001
    assert log.lines() == ["a heartbeat failed: away"]


def test_nothing_is_told_while_all_is_well(log: Log) -> None:
    trouble = Trouble("a sweep", log.logger, clock=log.time)
    trouble.passed()
    assert log.lines() == []


def test_only_what_nobody_foresaw_has_a_stack(log: Log) -> None:
    trouble = Trouble("a sweep", log.logger, clock=log.time)
    trouble.failed(ZeroDivisionError("oh"), stack=True)
    assert log.lines()[0] == "a sweep failed: oh"
    assert log.lines()[-1] == "ZeroDivisionError: oh"
