"""What validators and constructors say about a value, in the form that messages have."""

import re
from collections.abc import Mapping, Sequence

from prover_framework.errors import (
    Problem,
    RequestError,
)
from prover_framework.text import describe

# A body full of mistakes must not give an answer as long as itself. Nobody looks for more problems
# than this either: each costs more than the few bytes that make it.
MAX_PROBLEMS = 20

MAX_MESSAGE_LENGTH = 300
"""A body full of mistakes must not give an answer as long as itself."""

# What lies beyond this in a message is not looked at.
MAX_LOOKED_AT = 10_000

LONG_NUMBER = re.compile(r"\d{41,}")


def enough(problems: Sequence[Problem]) -> bool:
    """Tell whether so many problems were found that no more need be looked for."""
    return len(problems) > MAX_PROBLEMS


def refused(problems: Sequence[Problem]) -> RequestError:
    """Return the error with the problems that are shown, and one more if there are more."""
    return RequestError(problems[: MAX_PROBLEMS + 1])


def validator_problem(error: Exception, key: str, name: str, value: object) -> Problem:
    """Return what a field's validator says.

    Args:
        error: What it raised.
        key: The field's name in JSON.
        name: The field's name in the process.
        value: What the validator objects to.
    """
    return Problem(key, _message(error, name, value))


def constructor_problem(error: Exception, names: Mapping[str, str]) -> Problem:
    """Find the field that a constructor objects to, which attrs' validators name.

    Args:
        error: What it raised.
        names: For each field its name in JSON, and that in the process.
    """
    for key, name in names.items():
        if _text(error).startswith(f"'{name}' "):
            return Problem(key, _message(error, name, None))
    return Problem("", _message(error, "", None))


def _message(error: Exception, name: str, value: object) -> str:
    """Put a validator's message in our form: no field name, which the path has, and bounded."""
    message = _text(error).removeprefix(f"'{name}' ")
    if type(value) in (int, float) and message.endswith(f": {value}"):
        # Limits of attrs end with the value itself.
        message = f"{message.removesuffix(f': {value}')}, got {describe(value)}"
    # What lies beyond this is not shown, however the numbers before it are shortened.
    message = message[:MAX_LOOKED_AT]
    message = LONG_NUMBER.sub(lambda digits: f"{digits[0][:20]}...", message)
    message = message.encode("utf-8", "backslashreplace").decode()
    return message if len(message) <= MAX_MESSAGE_LENGTH else f"{message[:MAX_MESSAGE_LENGTH]}..."


def _text(error: Exception) -> str:
    """Return the message alone: validators of attrs hand on their field and value beside it."""
    return str(error.args[0]) if error.args else ""


def capped(problems: Sequence[Problem]) -> list[Problem]:
    """Keep the first problems, and say so if there are more."""
    if not enough(problems):
        return list(problems)
    return [*problems[:MAX_PROBLEMS], Problem("", "and more")]
