"""JSON Schema of receipts, for whoever reads them without this framework.

The files beside this module are written by ``python -m prover_framework.receipts.schemas``, and a
test requires that they are those of the types.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from prover_framework.model.receipts import SIGNATURE, SignatureDocument
from prover_framework.receipts.documents import KIND, GroupDocument, ReceiptDocument, SingleDocument
from prover_framework.serialization.forms import Schema
from prover_framework.serialization.json_schema import schema_of
from prover_framework.serialization.json_text import Json

FILES: Mapping[str, type[Any]] = MappingProxyType(
    {
        "receipt-2.schema.json": ReceiptDocument,
        "composed-receipt-2.schema.json": GroupDocument,
    }
)


def schema_text(cls: type[Any]) -> str:
    """Return the schema of a document as the text of its file."""
    schema = schema_of(cls)
    definitions = cast(Schema, schema["$defs"])
    definitions["Seal"] = _seal()
    for document in (schema, definitions.get(SingleDocument.__name__)):
        if document is not None:
            _seals_of(cast(Schema, document))["items"] = {"$ref": "#/$defs/Seal"}
    return json.dumps(schema, indent=2) + "\n"


def _seals_of(document: Schema) -> Schema:
    return cast(Schema, cast(Schema, document["properties"])["seals"])


def _seal() -> Schema:
    """Return the schema of a seal: any document with a kind; a signature's in full."""
    signature = schema_of(SignatureDocument)
    properties = cast(Schema, signature["properties"])
    required = cast(list[Json], signature["required"])
    kind: Json = {"type": "string", "pattern": "^(?:[a-z][a-z0-9_-]{0,62})$"}
    return {
        "type": "object",
        "description": "Something that stands for the receipt; its kind says who can check it.",
        "properties": {KIND: kind},
        "required": [KIND],
        "if": {"properties": {KIND: {"const": SIGNATURE}}},
        "then": {
            "properties": {KIND: {"const": SIGNATURE}, **properties},
            "required": [KIND, *required],
            "additionalProperties": False,
        },
    }


def main() -> None:
    """Write the files."""
    for name, cls in FILES.items():
        Path(__file__).with_name(name).write_text(schema_text(cls))


if __name__ == "__main__":
    main()
