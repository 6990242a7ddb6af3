"""What the reference of receipts says is so."""

import json
import re
from pathlib import Path

import pytest
from page_session import Page, compare_json
from receipt_bench import ReceiptBench

from prover_framework.plugins.package_digest import DIGEST_DOMAIN as PACKAGE_DOMAIN
from prover_framework.proofs.seed import SEED_DERIVATION
from prover_framework.receipts.canonical import DIGEST_DOMAIN
from prover_framework.receipts.documents import (
    COMPOSED_FORMAT,
    MAX_DEPTH,
    MAX_MEMBERS,
    MAX_RECEIPT_BYTES,
    MAX_SEALS,
    MAX_VALUES,
    RECEIPT_FORMAT,
)
from prover_framework.seals.ed25519 import SIGNATURE_DOMAIN
from prover_framework.settings import Settings
from prover_framework.verification.checks import CheckName
from prover_framework.verification.sources import MAX_HOURS

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "reference" / "receipts.md").read_text()


def test_every_check_is_explained_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \| .* \| (?:.* )?\|$", TEXT, flags=re.MULTILINE)
    assert listed == [check.value for check in CheckName]


def test_tags_and_formats_are_those_of_the_code() -> None:
    for domain in (DIGEST_DOMAIN, SIGNATURE_DOMAIN, PACKAGE_DOMAIN, SEED_DERIVATION.encode()):
        tag = domain.rstrip(b"\0").decode()
        assert f'"{tag}" 0x00' in TEXT
    for name in (RECEIPT_FORMAT, COMPOSED_FORMAT):
        assert f'"format": "{name}"' in TEXT


def test_limits_are_those_of_the_code() -> None:
    assert f"more than {MAX_RECEIPT_BYTES // 2**20} MiB" in TEXT
    assert f"deeper than {MAX_DEPTH} levels" in TEXT
    assert f"more than {MAX_MEMBERS} receipts" in TEXT
    assert f"more than {MAX_SEALS} seals" in TEXT
    assert f"more than {MAX_VALUES:,} values" in TEXT
    assert f"{Settings().verify_seconds:g} seconds" in TEXT
    assert "20 years" in TEXT
    assert round(MAX_HOURS / 8766) == 20


@pytest.mark.parametrize("proof_type", ["twap", None])
def test_the_receipts_that_it_shows_have_the_fields_of_real_ones(
    bench: ReceiptBench, proof_type: str | None
) -> None:
    shown = [json.loads(b.text) for b in Page("", TEXT).blocks if b.language == "json"]
    (example,) = (s for s in shown if ("receipts" in s) == (proof_type is None))
    compare_json(example, bench.document(proof_type), "$", values=False)
