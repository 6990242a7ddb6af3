"""What the page on input kinds shows is one plugin that works."""

import asyncio
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from page_session import ROOT, Page
from plugin_files import write_plugin

from prover_framework.model.findings import Outcome
from prover_framework.plugins.calls import Candidate
from prover_framework.plugins.loading import load
from prover_framework.receipts.documents import dump_receipt
from prover_framework.testing import service_in_a_box
from prover_framework.testing.box import SETTINGS
from prover_framework.verification.checks import CheckName
from prover_framework.verification.verifier import Verifier

NAME = "docs/how-to/write-an-input-kind.md"

PREFIX = "PROVER_PLUGIN__SIGNED_QUOTE__"

KEY = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
ANOTHER_KEY = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the plugin that all examples of the page are together."""
    blocks = Page(NAME, (ROOT / NAME).read_text()).blocks
    source = "\n\n".join(block.text for block in blocks if block.language == "python")
    candidate = write_plugin(tmp_path, "quoted_value", source)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module(candidate.module)
    del sys.modules[candidate.module]


def variables(trusted: Ed25519PrivateKey, published: Path) -> dict[str, str]:
    key = trusted.public_key().public_bytes_raw().hex()
    return {f"{PREFIX}PUBLIC_KEY": f'"0x{key}"', f"{PREFIX}URL": published.as_uri()}


def publish(plugin: ModuleType, place: Path) -> None:
    quote = plugin.Quote(pair="ETH-USD", price=2_500, quoted_at=1_704_067_200)
    document = {**attrs.asdict(quote), "signature": KEY.sign(quote.text).hex()}
    place.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("trusted", "outcome"), [(KEY, Outcome.PASSED), (ANOTHER_KEY, Outcome.FAILED)]
)
def test_the_examples_are_one_plugin_that_works(
    plugin: ModuleType, tmp_path: Path, trusted: Ed25519PrivateKey, outcome: Outcome
) -> None:
    published = tmp_path / "quote.json"
    publish(plugin, published)
    settings = attrs.evolve(SETTINGS, plugin_variables=variables(KEY, published))
    with service_in_a_box(plugin, settings=settings) as box:
        (job,) = box.prove("quoted_value", plugin.Parameters(pair="ETH-USD", amount=3)).jobs
        assert job.error is None
        assert isinstance(job.result, dict)
        assert job.result["quoted_value"] == "7500"
        receipt = dump_receipt(box.receipt("box-0"))
    name = plugin.__name__
    verifier = Verifier(
        settings=attrs.evolve(SETTINGS, plugin_variables=variables(trusted, published)),
        plugins=load([Candidate(name, name, name, "of the page")], strict=True),
        headers=None,
    )
    report = asyncio.run(verifier.verify(receipt))
    (check,) = (check for check in report.checks if check.check is CheckName.INPUT)
    assert check.outcome is outcome, check.reason
    assert report.accepted is (outcome is Outcome.PASSED), report.checks
    if report.accepted:
        assert "whoever vouches for the evidence of quote" in report.strength
