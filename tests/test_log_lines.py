"""Lines of the log have one of two forms, in UTC, and say what they are about."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from prover_framework.log_context import LogContext, log_context, logging_about
from prover_framework.logs import BoundedHandler, LogForm, dress


@contextmanager
def logging_to(form: LogForm) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    stream = io.StringIO()
    handler = BoundedHandler(stream)
    dress(handler, form)
    logger = logging.Logger("prover_framework.test")  # noqa: LOG001 - nobody else's
    logger.addHandler(handler)
    yield logger, stream
    handler.close()


def test_the_form_for_machines_is_an_object_in_each_line() -> None:
    with logging_to(LogForm.JSON) as (logger, stream):
        with logging_about(request_id="r1", group="g", job="twap", worker="w"):
            logger.info("%s: done", "g", extra={"seconds": 1.5})
        try:
            1 / 0  # noqa: B018 - that is the point
        except ZeroDivisionError:
            logger.exception("a line\nof two, with \x1b and \ud800")
    first, second = map(json.loads, stream.getvalue().splitlines())
    process = first.pop("process")
    assert isinstance(process, int)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00", first.pop("time"))
    assert first == {
        "level": "INFO",
        "logger": "prover_framework.test",
        "message": "g: done",
        "request_id": "r1",
        "group": "g",
        "job": "twap",
        "worker": "w",
        "seconds": 1.5,
    }
    assert second["message"] == "a line\nof two, with \x1b and \ud800"
    assert second["stack"].endswith("ZeroDivisionError: division by zero")
    assert "group" not in second


def test_the_form_for_people_tells_what_the_line_does_not_say_itself() -> None:
    with logging_to(LogForm.TEXT) as (logger, stream):
        with logging_about(request_id="r1", group="g", job="twap", worker="w"):
            logger.info("g twap: done")
        logger.info("about nothing")
    first, second = stream.getvalue().splitlines()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    about = "prover_framework.test: g twap: done [request_id=r1]"
    assert re.fullmatch(rf"{time} INFO    {re.escape(about)}", first)
    assert second.endswith(": about nothing")


@pytest.mark.parametrize("form", LogForm)
def test_what_was_left_out_has_the_same_form(form: LogForm) -> None:
    with logging_to(form) as (logger, stream):
        for _ in range(10):
            logger.error("again")
    last = stream.getvalue().splitlines()[-1]
    assert "left out 5 more lines of: again" in last
    if form is LogForm.JSON:
        assert json.loads(last)["level"] == "ERROR"


def test_a_block_adds_to_what_lines_are_about_and_ends() -> None:
    with logging_about(group="g"), logging_about(job="twap"):
        assert log_context() == LogContext(group="g", job="twap")
    assert log_context() == LogContext()
