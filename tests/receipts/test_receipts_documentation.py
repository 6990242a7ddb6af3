"""What docs/receipts.md says is so."""

import re
from pathlib import Path

from prover_framework.commitments import SEED_DERIVATION
from prover_framework.receipts.canonical import DIGEST_DOMAIN
from prover_framework.receipts.checks import CheckName
from prover_framework.receipts.documents import (
    COMPOSED_FORMAT,
    MAX_DEPTH,
    MAX_RECEIPT_BYTES,
    RECEIPT_FORMAT,
)
from prover_framework.receipts.ed25519 import SIGNATURE_DOMAIN
from prover_framework.receipts.packages import DIGEST_DOMAIN as PACKAGE_DOMAIN
from prover_framework.receipts.verification import MAX_HOURS, MAX_MEMBERS

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs" / "receipts.md").read_text()


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
    assert "20 years" in TEXT
    assert round(MAX_HOURS / 8766) == 20


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target
