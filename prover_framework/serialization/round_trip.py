"""Try whether what a class declares survives the way to JSON and back, before anybody relies on it.

The values are made from the types, the bounds and the defaults, always the same ones, so that what
is refused is refused at every start. Fields whose validators none of them satisfies, a pattern for
example, can bring values of their own: ``field(metadata={"samples": ("0xabc",)})``.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from prover_framework.errors import RequestError
from prover_framework.serialization.converter import all_parts, class_form
from prover_framework.serialization.forms import (
    MAX_SAMPLES,
    OBJECTIONS,
    SAMPLE_DEPTH,
    FieldForm,
    Form,
    ObjectForm,
)
from prover_framework.serialization.json_schema import field_schema, schema_of
from prover_framework.serialization.json_text import Json, dump_json, parse_json
from prover_framework.text import describe_error, one_line, shown

# The key of a field's metadata that has values to try.
SAMPLES = "samples"

# Rules between fields refuse many of the combinations that are drawn. These are enough to find some
# for any rule like "begins before it ends", and take a millisecond.
TRIES = 40

# The longest text or array that is made because a validator asks for that length.
MAX_LENGTH = 1000


def find_fault(cls: type[Any]) -> str | None:
    """Return what of a class does not survive the way to JSON and back; None if all does.

    Args:
        cls: An attrs class. Its converters, validators and defaults are run.
    """
    try:
        root = class_form(cls)
        classes = [form for form in all_parts(root) if isinstance(form, ObjectForm)]
    except TypeError as error:
        return one_line(str(error))
    for form in classes:
        for part in form.fields.values():
            if fault := _fault_of_field(form, part):
                return f"{form.cls.__name__}.{part.attribute.name}: {fault}"
    try:
        dump_json(schema_of(cls))
    except Exception as error:
        return f"{cls.__name__}: its JSON Schema cannot be written: {describe_error(error)}"
    for form in reversed(classes):
        try:
            made = instances(form, SAMPLE_DEPTH)
        except Exception as error:
            return f"{form.cls.__name__}: making one raised {describe_error(error)}"
        for instance in made:
            if fault := _fault_of(form, instance):
                return f"{form.cls.__name__}: {fault}"
    return None


def instances(form: ObjectForm, depth: int) -> Sequence[Any]:
    """Return some instances of a class, always the same; none where its rules refuse all tries."""
    draw = random.Random(0)  # noqa: S311 - always the same ones
    choices = {key: _candidates(form, part, depth) for key, part in form.fields.items()}
    made: list[Any] = []
    for number in range(TRIES):
        document: dict[str, Json] = {}
        for key, values in choices.items():
            # The first one is with all that can be left out left out.
            if values and (number or form.fields[key].required):
                document[key] = draw.choice(values)
        try:
            made.append(form.read(document))
        except (RequestError, *OBJECTIONS):
            continue
        if len(made) == MAX_SAMPLES:
            break
    return made


def _candidates(form: ObjectForm, part: FieldForm, depth: int) -> list[Json]:
    """Return values of a field in JSON, at the best such as its validators take."""
    written: list[Json] = []
    for value in (*part.attribute.metadata.get(SAMPLES, ()), *part.form.samples(depth, instances)):
        try:
            written.append(part.form.write(value))
        except (RequestError, *OBJECTIONS):
            continue
    written += _at_bounds(part)
    taken = [value for value in written if _is_taken(form, part, value)]
    return taken or written


def _is_taken(form: ObjectForm, part: FieldForm, value: Json) -> bool:
    try:
        form.read({part.key: value})
    except RequestError as error:
        return all(problem.where.partition(".")[0] != part.key for problem in error.problems)
    except OBJECTIONS:
        return False
    return True


def _at_bounds(part: FieldForm) -> Iterator[Json]:
    """Return values at the bounds and of the lengths that validators name."""
    schema = field_schema(part)
    parts = schema.get("anyOf")
    inner = parts[0] if isinstance(parts, list) and parts else schema
    if not isinstance(inner, dict):
        return
    choices = inner.get("enum")
    if isinstance(choices, list):
        yield from choices
    bounds = [inner[key] for key in ("minimum", "maximum") if key in inner]
    bounds += [inner[key] for key in ("exclusiveMinimum", "exclusiveMaximum") if key in inner]
    numbers = [bound for bound in bounds if isinstance(bound, int | float)]
    if inner.get("type") == "integer":
        near = {int(number) + step for number in numbers for step in (-1, 0, 1)}
        yield from sorted(near)
    elif inner.get("type") == "number":
        yield from numbers
        yield from (number + step for number in numbers for step in (-0.5, 0.5))
        if len(numbers) > 1:
            yield sum(numbers) / len(numbers)
    elif inner.get("type") == "string":
        for length in (inner.get("minLength"), inner.get("maxLength")):
            if isinstance(length, int) and length <= MAX_LENGTH:
                yield "x" * length


def _fault_of_field(form: ObjectForm, part: FieldForm) -> str | None:
    try:
        if part.shows_default:
            default = part.default()
            if fault := _fault_of(part.form, default):
                return f"its default cannot be shown: {fault}"
            if part.form.write(default) != part.form.write(part.default()):
                return "its default is another one each time"
            if not _is_taken(form, part, part.form.write(default)):
                return "its default is not a value that it takes"
    except Exception as error:
        return f"its default cannot be shown: {describe_error(error)}"
    try:
        samples = part.form.samples(0, instances)
    except Exception as error:
        return f"no values of it can be made to try: {describe_error(error)}"
    for sample in samples:
        if fault := _fault_of(part.form, sample):
            return fault
    return None


def _fault_of(form: Form, value: object) -> str | None:
    """Take a value to JSON and back, as a job does on its way."""
    try:
        text = dump_json(form.write(value))
    except (RequestError, *OBJECTIONS) as error:
        return _line(f"{shown(value)} {error}")
    except Exception as error:
        return _line(f"writing {shown(value)} as JSON raised {describe_error(error)}")
    try:
        again = form.read(parse_json(text.encode()))
    except (RequestError, *OBJECTIONS) as error:
        return _line(f"{shown(value)} is written as {text} and cannot be read again: {error}")
    except Exception as error:
        return _line(f"reading {text} raised {describe_error(error)}")
    try:
        if again != value:
            return _line(f"{shown(value)} is {shown(again)} after it went through JSON")
        if dump_json(form.write(again)) != text:
            return _line(f"{shown(value)} is not written the same twice")
    except Exception as error:
        return _line(f"comparing {shown(value)} with what came back raised {describe_error(error)}")
    return None


def _line(text: str) -> str:
    return one_line(text)
