"""Receipts as JSON documents: written canonically, read with suspicion."""

from typing import Any, Literal, TypeVar

import attrs
from attrs import frozen

from prover_framework.errors import NoExactForm, ReceiptError, RequestError
from prover_framework.jsontext import Json, describe, parse_json, quote
from prover_framework.receipts.canonical import MAX_EXACT_INTEGER, canonical, digest_of
from prover_framework.receipts.model import (
    AnyReceipt,
    ComposedProvenance,
    ComposedReceipt,
    ComposedStatement,
    Provenance,
    Receipt,
    Seal,
    Statement,
)
from prover_framework.wire import capped, structure, unstructure

RECEIPT_FORMAT = "prover-framework/receipt/1"
COMPOSED_FORMAT = "prover-framework/composed-receipt/1"

FORMAT = "format"
KIND = "kind"

# A receipt of a number has some 3 KB. A proof as a seal may have hundreds; ten times as much is no
# receipt but an attempt to keep somebody busy.
MAX_RECEIPT_BYTES = 2 * 2**20

# Ours have a depth of 8, and results and artefacts of plugins need not go much deeper.
MAX_DEPTH = 32


T = TypeVar("T")


@frozen(kw_only=True)
class _Content:
    format: Literal["prover-framework/receipt/1"]
    statement: Statement
    provenance: Provenance


@frozen(kw_only=True)
class ReceiptDocument:
    """The JSON form of a `Receipt`."""

    format: Literal["prover-framework/receipt/1"]
    statement: Statement
    provenance: Provenance
    seals: tuple[dict[str, Any], ...]


@frozen(kw_only=True)
class ComposedDocument:
    """The JSON form of a `ComposedReceipt`."""

    format: Literal["prover-framework/composed-receipt/1"]
    statement: ComposedStatement
    provenance: ComposedProvenance
    receipts: tuple[ReceiptDocument, ...]
    seals: tuple[dict[str, Any], ...]


def content_of(receipt: AnyReceipt) -> dict[str, Json]:
    """Return what seals stand for: the members ``format``, ``statement`` and ``provenance``."""
    return {
        FORMAT: RECEIPT_FORMAT if isinstance(receipt, Receipt) else COMPOSED_FORMAT,
        "statement": unstructure(receipt.statement),
        "provenance": unstructure(receipt.provenance),
    }


def document_of(receipt: AnyReceipt) -> dict[str, Json]:
    """Return the JSON form of a receipt."""
    document = content_of(receipt)
    if isinstance(receipt, ComposedReceipt):
        document["receipts"] = [document_of(member) for member in receipt.receipts]
    document["seals"] = [seal_form(seal) for seal in receipt.seals]
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


def dump_content(receipt: Receipt) -> str:
    """Write the receipt of a proof without its seals.

    Raises:
        NoExactForm: It has no canonical form, or is too large to be read again.
    """
    content = canonical(content_of(receipt))
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
    return Receipt(statement=content.statement, provenance=content.provenance, seals=seals)


def dump_bound(receipt: ComposedReceipt) -> str:
    """Write the receipt of a group without those that it binds.

    Raises:
        NoExactForm: It has no canonical form.
    """
    document = document_of(attrs.evolve(receipt, receipts=()))
    return canonical(document).decode()


def read_bound(text: str, receipts: tuple[Receipt, ...]) -> ComposedReceipt:
    """Read what `dump_bound` wrote, and put the receipts to it that it binds.

    Raises:
        ReceiptError: It is something else.
    """
    document = _structured(_parsed(text.encode()), ComposedDocument)
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
    if document.get(FORMAT) == RECEIPT_FORMAT:
        return _receipt(_structured(document, ReceiptDocument))
    if document.get(FORMAT) == COMPOSED_FORMAT:
        return _composed(_structured(document, ComposedDocument))
    raise ReceiptError(
        f"{FORMAT}: is {describe(document.get(FORMAT))}, and this version reads {RECEIPT_FORMAT} "
        f"and {COMPOSED_FORMAT}"
    )


def seal_form(seal: Seal) -> dict[str, Json]:
    """Return the JSON form of a seal: its document, with its kind beside it."""
    return {KIND: seal.kind, **seal.document}


def _receipt(document: ReceiptDocument, where: str = "") -> Receipt:
    return Receipt(
        statement=document.statement,
        provenance=document.provenance,
        seals=_seals(document.seals, where),
    )


def _composed(document: ComposedDocument) -> ComposedReceipt:
    return ComposedReceipt(
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
        return _exact(parse_json(body, "the receipt"), MAX_DEPTH)
    except RequestError as error:
        raise ReceiptError(str(error)) from None


def _exact(value: Json, depth: int, where: str = "") -> Json:
    """Read numbers as the canonical form writes them, and refuse what no canonical form writes.

    A double of 2^53 or more is written without a point, and comes back as an integer.
    """
    if not depth:
        raise ReceiptError(f"the receipt is nested deeper than {MAX_DEPTH} levels")
    match value:
        case dict():
            return {
                key: _exact(item, depth - 1, f"{where}.{key}" if where else key)
                for key, item in value.items()
            }
        case list():
            return [_exact(item, depth - 1, f"{where}[{i}]") for i, item in enumerate(value)]
        case int() if abs(value) > MAX_EXACT_INTEGER:
            number = _double(value)
            # Such a double is written as its shortest digits and zeros: another integer may be
            # nearer to it, but no other text is its own.
            if number is None or canonical(number) != str(value).encode():
                raise ReceiptError(
                    f"{quote(where)} is {describe(value)}, which JSON numbers can not hold exactly"
                )
            return number
    return value


def _double(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None
