"""Receipts as JSON documents: written canonically, read with suspicion."""

from typing import Any, Literal, TypeVar

import attrs
from attrs import field, frozen
from attrs.validators import matches_re

from prover_framework.errors import NoExactForm, ReceiptError, RequestError
from prover_framework.model.inputs import input_names
from prover_framework.model.names import JOB_ID
from prover_framework.model.receipts import (
    AnyReceipt,
    GroupProvenance,
    GroupReceipt,
    GroupStatement,
    Provenance,
    Receipt,
    RestedOn,
    Seal,
    Statement,
)
from prover_framework.receipts.canonical import MAX_EXACT_INTEGER, canonical, digest_of
from prover_framework.serialization.converter import structure, unstructure, unstructure_object
from prover_framework.serialization.json_text import Json, parse_json
from prover_framework.serialization.objections import capped
from prover_framework.text import Place, describe, place_text, quote

RECEIPT_FORMAT = "prover-framework/receipt/2"
COMPOSED_FORMAT = "prover-framework/composed-receipt/2"

FORMAT = "format"
KIND = "kind"
ATTACHMENTS = "attachments"

# A receipt of a number has some 3 KB. A proof as a seal may have hundreds; ten times as much is no
# receipt but an attempt to keep somebody busy.
MAX_RECEIPT_BYTES = 2 * 2**20

# Ours have a depth of 8, and results and artefacts of plugins need not go much deeper.
MAX_DEPTH = 32

# Members of objects and elements of arrays, all together. A group of ours has a few hundred, and
# reading, writing and hashing this many takes a second. The receipt of one proof is made with half
# of them at the most, as with half of the bytes.
MAX_VALUES = 100_000

# Each kind of seal is there once, and an installation knows a handful of kinds.
MAX_SEALS = 16

# A group asks for a handful of proof types, for some of them more than once. No request may ask for
# more, so that a group's receipt is always one that can be verified.
MAX_MEMBERS = 64

# Each plugin composes a group once, and an installation has a handful that do.
MAX_COMPOSED = 16


T = TypeVar("T")


@frozen(kw_only=True)
class _Content:
    format: Literal["prover-framework/receipt/2"]
    statement: Statement
    provenance: Provenance
    evidence: dict[str, Any] = field(validator=input_names)


@frozen(kw_only=True)
class SingleDocument:
    """The JSON form of a `Receipt` that carries no others."""

    format: Literal["prover-framework/receipt/2"]
    statement: Statement
    provenance: Provenance
    evidence: dict[str, Any] = field(validator=input_names)
    seals: tuple[dict[str, Any], ...]


@frozen(kw_only=True)
class RestedOnDocument:
    """The JSON form of a `RestedOn`."""

    job_id: str = field(validator=matches_re(JOB_ID))
    receipt: SingleDocument


@frozen(kw_only=True)
class ReceiptDocument(SingleDocument):
    """The JSON form of a `Receipt`."""

    rests_on: tuple[RestedOnDocument, ...] = ()


@frozen(kw_only=True)
class GroupDocument:
    """The JSON form of a `GroupReceipt`."""

    format: Literal["prover-framework/composed-receipt/2"]
    statement: GroupStatement
    provenance: GroupProvenance
    receipts: tuple[SingleDocument, ...]
    seals: tuple[dict[str, Any], ...]


def statement_form(statement: Statement) -> dict[str, Json]:
    """Return the JSON form of a statement, which names attachments only where there are some."""
    form = unstructure_object(statement)
    if not statement.attachments:
        del form[ATTACHMENTS]
    return form


def content_of(receipt: AnyReceipt) -> dict[str, Json]:
    """Return what seals stand for: all members but ``seals`` and other receipts."""
    content: dict[str, Json] = {
        FORMAT: RECEIPT_FORMAT if isinstance(receipt, Receipt) else COMPOSED_FORMAT,
        "statement": (
            statement_form(receipt.statement)
            if isinstance(receipt, Receipt)
            else unstructure(receipt.statement)
        ),
        "provenance": unstructure(receipt.provenance),
    }
    if isinstance(receipt, Receipt):
        content["evidence"] = receipt.evidence
    return content


def document_of(receipt: AnyReceipt) -> dict[str, Json]:
    """Return the JSON form of a receipt."""
    document = content_of(receipt)
    if isinstance(receipt, GroupReceipt):
        document["receipts"] = [document_of(member) for member in receipt.receipts]
    document["seals"] = [seal_form(seal) for seal in receipt.seals]
    if isinstance(receipt, Receipt) and receipt.rests_on:
        document["rests_on"] = [
            {"job_id": other.job_id, "receipt": document_of(other.receipt)}
            for other in receipt.rests_on
        ]
    return document


def digest(receipt: AnyReceipt) -> bytes:
    """Return the digest of a receipt, 32 bytes: of all but its seals.

    Raises:
        NoExactForm: The receipt has no canonical form.
    """
    return digest_of(canonical(content_of(receipt)))


def dump_receipt(receipt: AnyReceipt) -> bytes:
    """Write a receipt in its canonical form.

    Raises:
        NoExactForm: It has none.
    """
    return canonical(document_of(receipt))


def fits(receipt: AnyReceipt) -> bool:
    """Tell whether a receipt, with those that it carries, can be read again."""
    document = document_of(receipt)
    carried = receipt.rests_on if isinstance(receipt, Receipt) else receipt.receipts
    if len(carried) > MAX_MEMBERS or _has_more_values(document, MAX_VALUES):
        return False
    return len(canonical(document)) <= MAX_RECEIPT_BYTES


def dump_content(receipt: Receipt) -> str:
    """Write the receipt of a proof without its seals.

    Raises:
        NoExactForm: It has no canonical form, or is too large to be read again.
    """
    document = content_of(receipt)
    content = canonical(document)
    # No text has more values than characters.
    if len(content) > MAX_VALUES // 2 and _has_more_values(document, MAX_VALUES // 2):
        raise NoExactForm(
            f"the receipt would have more than {MAX_VALUES // 2:,} values: the result is too large"
        )
    if len(content) > MAX_RECEIPT_BYTES // 2:
        raise NoExactForm(
            f"the receipt would have {len(content):,} bytes, more than {MAX_RECEIPT_BYTES // 2:,}: "
            "the result is too large"
        )
    return content.decode()


def read_content(text: str, seals: tuple[Seal, ...]) -> Receipt:
    """Read what `dump_content` wrote, and put the seals to it.

    Raises:
        ReceiptError: It is something else.
    """
    content = _structured(_parsed(text.encode()), _Content)
    return Receipt(
        statement=content.statement,
        provenance=content.provenance,
        evidence=content.evidence,
        seals=seals,
    )


def dump_bound(receipt: GroupReceipt) -> str:
    """Write the receipt of a group without those that it binds.

    Raises:
        NoExactForm: It has no canonical form.
    """
    document = document_of(attrs.evolve(receipt, receipts=()))
    return canonical(document).decode()


def read_bound(text: str, receipts: tuple[Receipt, ...]) -> GroupReceipt:
    """Read what `dump_bound` wrote, and put the receipts to it that it binds.

    Raises:
        ReceiptError: It is something else.
    """
    document = _structured(_parsed(text.encode()), GroupDocument)
    return attrs.evolve(_composed(document), receipts=receipts)


def read_receipt(body: bytes) -> AnyReceipt:
    """Read a receipt that anybody may have written.

    Raises:
        ReceiptError: It is none, and all reasons; or it is too large or too deep to look into.
    """
    if len(body) > MAX_RECEIPT_BYTES:
        raise ReceiptError(
            f"the receipt has {len(body):,} bytes; no receipt has more than {MAX_RECEIPT_BYTES:,}"
        )
    return receipt_from(_parsed(body))


def receipt_from(document: Json) -> AnyReceipt:
    """Turn the JSON form of a receipt into the receipt.

    Raises:
        ReceiptError: It is none, and all reasons.
    """
    if not isinstance(document, dict):
        raise ReceiptError(f"a receipt is an object, and this is {describe(document)}")
    _require_counts(document)
    _require_no_empty_attachments(document)
    if document.get(FORMAT) == RECEIPT_FORMAT:
        return _with_others(_structured(document, ReceiptDocument))
    if document.get(FORMAT) == COMPOSED_FORMAT:
        return _composed(_structured(document, GroupDocument))
    raise ReceiptError(
        f"{FORMAT}: is {describe(document.get(FORMAT))}, and this version reads {RECEIPT_FORMAT} "
        f"and {COMPOSED_FORMAT}"
    )


def seal_form(seal: Seal) -> dict[str, Json]:
    """Return the JSON form of a seal: its document, with its kind beside it."""
    return {KIND: seal.kind, **seal.document}


def _require_counts(document: dict[str, Json]) -> None:
    """Refuse lists that are longer than any receipt's, before anything is made of their elements.

    Raises:
        ReceiptError: One is, and which.
    """
    statement = document.get("statement")
    statement = statement if isinstance(statement, dict) else {}
    members, others = document.get("receipts"), document.get("rests_on")
    lists = [
        ("receipts", members, MAX_MEMBERS),
        ("rests_on", others, MAX_MEMBERS),
        ("statement.members", statement.get("members"), MAX_MEMBERS),
        ("statement.composed", statement.get("composed"), MAX_COMPOSED),
        ("seals", document.get("seals"), MAX_SEALS),
    ]
    for place, elements, most in lists:
        _require_at_most(elements, most, place)
    for index, member in enumerate(members if isinstance(members, list) else ()):
        if isinstance(member, dict):
            _require_at_most(member.get("seals"), MAX_SEALS, f"receipts[{index}].seals")
    for index, other in enumerate(others if isinstance(others, list) else ()):
        carried = other.get("receipt") if isinstance(other, dict) else None
        if isinstance(carried, dict):
            _require_at_most(carried.get("seals"), MAX_SEALS, f"rests_on[{index}].receipt.seals")


def _require_no_empty_attachments(document: dict[str, Json]) -> None:
    """Refuse a second way to state that there are none.

    Raises:
        ReceiptError: A statement has an empty member for them.
    """
    inner: list[tuple[str, Json]] = [("", document)]
    members, others = document.get("receipts"), document.get("rests_on")
    if isinstance(members, list):
        inner.extend((f"receipts[{place}].", each) for place, each in enumerate(members))
    for place, other in enumerate(others if isinstance(others, list) else ()):
        if isinstance(other, dict):
            inner.append((f"rests_on[{place}].receipt.", other.get("receipt")))
    for where, receipt in inner:
        statement = receipt.get("statement") if isinstance(receipt, dict) else None
        if isinstance(statement, dict) and statement.get(ATTACHMENTS) == {}:
            raise ReceiptError(
                f"{where}statement.{ATTACHMENTS}: is empty; where there are none it is left out"
            )


def _require_at_most(elements: Json, most: int, place: str) -> None:
    if isinstance(elements, list) and len(elements) > most:
        raise ReceiptError(f"{place}: {len(elements):,} are more than a receipt has ({most})")


def _has_more_values(value: Json, most: int) -> bool:
    """Tell whether there are more values inside of one than that; no more are looked at."""
    waiting: list[Json] = [value]
    count = 0
    while waiting and count <= most:
        match waiting.pop():
            case dict() as members:
                count += len(members)
                waiting.extend(members.values())
            case list() | tuple() as elements:
                count += len(elements)
                waiting.extend(elements)
    return count > most


def _with_others(document: ReceiptDocument) -> Receipt:
    names = [other.job_id for other in document.rests_on]
    if len(set(names)) != len(names):
        raise ReceiptError("rests_on: a job is there twice")
    return attrs.evolve(
        _receipt(document),
        rests_on=tuple(
            RestedOn(
                job_id=other.job_id,
                receipt=_receipt(other.receipt, f"rests_on[{place}].receipt."),
            )
            for place, other in enumerate(document.rests_on)
        ),
    )


def _receipt(document: SingleDocument, where: str = "") -> Receipt:
    return Receipt(
        statement=document.statement,
        provenance=document.provenance,
        evidence=document.evidence,
        seals=_seals(document.seals, where),
    )


def _composed(document: GroupDocument) -> GroupReceipt:
    plugins = [composed.plugin for composed in document.statement.composed]
    if len(set(plugins)) != len(plugins):
        raise ReceiptError("statement.composed: a plugin is there twice")
    return GroupReceipt(
        statement=document.statement,
        provenance=document.provenance,
        receipts=tuple(
            _receipt(member, f"receipts[{place}].")
            for place, member in enumerate(document.receipts)
        ),
        seals=_seals(document.seals),
    )


def _seals(forms: tuple[dict[str, Any], ...], where: str = "") -> tuple[Seal, ...]:
    seals = tuple(_seal(form, f"{where}seals[{place}]") for place, form in enumerate(forms))
    kinds = [seal.kind for seal in seals]
    if len(set(kinds)) != len(kinds):
        raise ReceiptError(f"{where}seals: there are two of one kind")
    return seals


def _seal(form: dict[str, Any], where: str) -> Seal:
    if KIND not in form:
        raise ReceiptError(f"{where}.{KIND}: is required")
    document = {key: value for key, value in form.items() if key != KIND}
    return _structured({KIND: form[KIND], "document": document}, Seal, where)


def _structured(document: Json, cls: type[T], where: str = "") -> T:
    try:
        return structure(document, cls, where)
    except RequestError as error:
        raise ReceiptError(str(RequestError(capped(error.problems)))) from None


def _parsed(body: bytes) -> Json:
    try:
        document = parse_json(body, "the receipt")
    except RequestError as error:
        raise ReceiptError(str(error)) from None
    if len(body) > MAX_VALUES and _has_more_values(document, MAX_VALUES):
        raise ReceiptError(f"the receipt has more values than any receipt ({MAX_VALUES:,})")
    return _exact(document, MAX_DEPTH)


def _exact(value: Json, depth: int, place: Place = None) -> Json:
    """Read numbers as the canonical form writes them, and refuse what no canonical form writes.

    A double of 2^53 or more is written without a point, and comes back as an integer.
    """
    if not depth:
        raise ReceiptError(f"the receipt is nested deeper than {MAX_DEPTH} levels")
    match value:
        case dict():
            return {key: _exact(item, depth - 1, (place, key)) for key, item in value.items()}
        case list():
            return [_exact(item, depth - 1, (place, i)) for i, item in enumerate(value)]
        case int() if abs(value) > MAX_EXACT_INTEGER:
            number = _double(value)
            # Such a double is written as its shortest digits and zeros: another integer may be
            # nearer to it, but no other text is its own.
            if number is None or canonical(number) != str(value).encode():
                raise ReceiptError(
                    f"{quote(place_text(place))} is {describe(value)}, which JSON numbers cannot "
                    "hold exactly"
                )
            return number
    return value


def _double(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None
