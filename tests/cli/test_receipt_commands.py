"""``prover receipt``, ``prover verify`` and ``prover key``, as somebody types them."""

import json
import re
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from receipt_bench import GROUP, ReceiptBench, fabricated_series

from prover_framework.cli.main import prover
from prover_framework.cli.service import _tell_exposure
from prover_framework.receipts.documents import read_receipt
from prover_framework.settings import Settings
from prover_framework.testing.series import headers_of

Run = Callable[..., Result]


@pytest.fixture
def run(bench: ReceiptBench) -> Run:
    """Run a command of the service that has made the receipts."""
    return lambda *arguments: invoke(bench.runtime.settings.data_dir, *arguments)


def invoke(data_dir: Path, *arguments: str) -> Result:
    environment = {"PROVER_DATA_DIR": str(data_dir), "COLUMNS": "300"}
    return CliRunner().invoke(prover, arguments, env=environment)


def outcomes(result: Result) -> list[str]:
    return re.findall(r"│ (passed|failed|not possible) ", result.stdout)


# Receipts


def test_a_receipt_is_written_as_it_is_served(bench: ReceiptBench, run: Run) -> None:
    assert run("receipt", GROUP).stdout.encode() == bench.group + b"\n"
    one = run("receipt", GROUP, "twap")
    assert json.loads(one.stdout) == bench.document("twap")


def test_a_receipt_goes_into_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    assert run("receipt", GROUP, "twap", "-o", str(file)).stdout == ""
    assert read_receipt(file.read_bytes()).seals
    checked = run("verify", str(file))
    assert checked.exit_code == 0, checked.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("receipt", "nowhere"), "there is no job group 'nowhere'"),
        (("receipt", GROUP, "volatility"), f"job group {GROUP} has no 'volatility' (it has: "),
        (("verify", "nowhere"), "there is no job group 'nowhere'"),
    ],
)
def test_what_is_not_there_is_one_line(run: Run, arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert said in str(result.exception)


# Verifying


def test_the_receipts_of_a_group_of_our_own_are_verified(run: Run) -> None:
    checked = run("verify", GROUP)
    assert checked.exit_code == 0, checked.stdout
    assert "failed" not in outcomes(checked)
    assert "Shown: the results follow by their methods from the verifier's data" in (checked.stdout)


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--expect-group", GROUP, "--expect-proofs", "twap, max_return"), 0, "it has results of"),
        (("--expect-group", "another"), 1, "and 'another' is expected"),
        (("--expect-proofs", "twap@early"), 1, "no result of 'twap@early'"),
        (("--require-seal", "wax"), 1, "wax"),
    ],
)
def test_what_is_expected_of_a_receipt_is_a_check(
    run: Run, options: tuple[str, ...], status: int, said: str
) -> None:
    checked = run("verify", GROUP, *options)
    assert checked.exit_code == status, checked.stdout
    assert said in checked.stdout


def test_a_receipt_that_was_changed_in_the_database_is_refused(
    bench: ReceiptBench, run: Run
) -> None:
    path = bench.runtime.settings.sqlite_path
    change = "UPDATE job SET receipt = REPLACE(receipt, '\"hours\":720', '\"hours\":721')"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        ((true,),) = database.execute("SELECT receipt FROM job WHERE name = 'twap'")
        database.execute(f"{change} WHERE name = 'twap'")
        try:
            checked = run("verify", GROUP)
        finally:
            database.execute("UPDATE job SET receipt = ? WHERE name = 'twap'", [true])
    assert checked.exit_code == 1
    assert "hours: it is" in str(checked.exception) or "failed" in outcomes(checked)


def test_headers_can_come_from_a_file(bench: ReceiptBench, tmp_path: Path) -> None:
    """Whoever verifies needs nothing of the service: a receipt, headers, a public key."""
    receipt, headers = tmp_path / "receipt.json", tmp_path / "headers.csv"
    receipt.write_bytes(bench.group)
    lines = (f"{h.number},{h.timestamp},{h.base_fee_wei}" for h in headers_of(fabricated_series()))
    headers.write_text("number,timestamp,base_fee_per_gas\n" + "\n".join(lines) + "\n")
    nowhere = tmp_path / "nothing"
    key = bench.key.public_key.hex()
    arguments = ("verify", str(receipt), "--headers", str(headers), "--key", key)
    checked = invoke(nowhere, *arguments)
    assert checked.exit_code == 0, checked.stdout
    assert "as in headers.csv" in checked.stdout
    assert not nowhere.exists(), "nothing of a service was opened"

    other = invoke(nowhere, *arguments, "--chain-id", "5")
    assert other.exit_code == 1
    assert "chain_id: it is stated as 1, and in headers.csv it is 5" in other.stdout

    headers.write_text("number,timestamp,base_fee_per_gas\n1,1900000000,1\n")
    without = invoke(nowhere, *arguments)
    assert without.exit_code == 1
    assert "headers.csv does not have it" in without.stdout


def test_what_is_asked_for_decides(bench: ReceiptBench, tmp_path: Path) -> None:
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(bench.group)
    empty = tmp_path / "data"
    key = ("--key", bench.key.public_key.hex())
    nothing_to_compare_with = invoke(empty, "verify", str(receipt), *key)
    assert nothing_to_compare_with.exit_code == 1
    assert "not possible" in outcomes(nothing_to_compare_with)
    assert invoke(empty, "verify", str(receipt), *key, "--only", "seal").exit_code == 0
    assert invoke(empty, "verify", str(receipt), "--only", "seal").exit_code == 1


def test_keys_are_pinned_by_digits_by_file_or_in_the_settings(
    bench: ReceiptBench, tmp_path: Path, run: Run
) -> None:
    receipt, key = tmp_path / "receipt.json", tmp_path / "key.json"
    receipt.write_bytes(bench.group)
    key.write_text(run("key", "show").stdout)
    for pinned in (bench.key.public_key.hex(), str(key)):
        checked = invoke(tmp_path, "verify", str(receipt), "--only", "seal", "--key", pinned)
        assert checked.exit_code == 0, checked.stdout
    environment = {"PROVER_DATA_DIR": str(tmp_path), "PROVER_TRUSTED_KEYS": str(key)}
    checked = CliRunner().invoke(
        prover, ["verify", str(receipt), "--only", "seal"], env=environment
    )
    assert checked.exit_code == 0, checked.stdout
    # The file says more than the digits: that the key was retired, and when.
    retired = {**json.loads(key.read_text()), "retired_at": "2999-01-01T00:00:00.000Z"}
    key.write_text(json.dumps(retired))
    checked = invoke(tmp_path, "verify", str(receipt), "--only", "seal", "--key", str(key))
    assert "which was retired at 2999-01-01T00:00:00.000Z: the receipt says" in checked.stdout
    assert "made before that" in checked.stdout
    unknown = invoke(tmp_path, "verify", str(receipt), "--key", "abc")
    assert "'abc' is no public key: give its 64 hex digits, or a file" in str(unknown.exception)


@pytest.mark.parametrize("text", ["0x12", "12" * 32, f"0x{'zz' * 32}"])
def test_a_trusted_hash_is_a_hash(run: Run, text: str) -> None:
    refused = run("verify", GROUP, "--trusted-hash", text)
    assert refused.exit_code == 2
    assert "is not 0x and 64 hex digits" in refused.stderr


# Keys


def test_the_life_of_a_key(tmp_path: Path) -> None:
    nothing = invoke(tmp_path, "key", "show")
    assert nothing.exit_code == 2
    assert 'there is no key; "prover key create" makes one' in nothing.stderr
    too_early = invoke(tmp_path, "key", "rotate")
    assert "there is no key" in str(too_early.exception)

    first = json.loads(invoke(tmp_path, "key", "create").stdout)
    assert first["algorithm"] == "ed25519"
    assert len(bytes.fromhex(first["public_key"])) == 32
    assert first["retired_at"] is None
    assert json.loads(invoke(tmp_path, "key", "show").stdout) == first
    again = invoke(tmp_path, "key", "create")
    assert again.exit_code == 1
    assert "there is a key" in str(again.exception)

    second = json.loads(invoke(tmp_path, "key", "rotate").stdout)
    assert second["id"] != first["id"]
    assert json.loads(invoke(tmp_path, "key", "show").stdout) == second
    old = json.loads(invoke(tmp_path, "key", "show", first["id"]).stdout)
    assert old == {**first, "retired_at": second["created_at"]}
    listed = invoke(tmp_path, "key", "list").stdout
    assert listed.index(first["id"]) < listed.index(second["id"])
    assert invoke(tmp_path, "key", "show", "nobody").exit_code == 2


def test_the_private_key_is_its_owners_alone_and_shown_nowhere(tmp_path: Path) -> None:
    created = invoke(tmp_path, "key", "create")
    [private] = (tmp_path / "keys").glob("*.pem")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    secret = "".join(private.read_text().splitlines()[1:-1])
    shown = created.output + invoke(tmp_path, "key", "list").output
    shown += invoke(tmp_path, "key", "show").output
    assert secret not in shown
    rotated = invoke(tmp_path, "key", "rotate")
    assert secret not in rotated.output
    assert not private.exists(), "a key that is retired signs nothing any more"
    assert len(list((tmp_path / "keys").glob("*.pem"))) == 1
    assert len(list((tmp_path / "keys").glob("*.json"))) == 2


@pytest.mark.parametrize("command", ["up", "worker", "api"])
def test_a_service_does_not_start_with_a_key_that_others_can_read(
    tmp_path: Path, command: str
) -> None:
    """Else all that it proves would go out unsigned, and nobody might notice."""
    invoke(tmp_path, "key", "create")
    [private] = (tmp_path / "keys").glob("*.pem")
    private.chmod(0o644)
    refused = invoke(tmp_path, command)
    assert refused.exit_code == 1
    assert "is open to others (mode 644)" in str(refused.exception)


@pytest.mark.parametrize("command", ["up", "worker", "api"])
def test_a_service_does_not_start_without_a_key_where_signatures_are_demanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("PROVER_REQUIRE_SIGNATURE", "true")
    refused = invoke(tmp_path, command)
    assert refused.exit_code == 1
    assert "receipts have to be signed (PROVER_REQUIRE_SIGNATURE)" in str(refused.exception)


@pytest.mark.parametrize("command", ["up", "worker", "api"])
def test_a_service_does_not_start_with_keys_that_it_can_not_read(
    tmp_path: Path, command: str
) -> None:
    (tmp_path / "keys").symlink_to(tmp_path / "keys")
    refused = invoke(tmp_path, command)
    assert refused.exit_code == 1
    assert "cannot be read: Too many levels of symbolic links" in str(refused.exception)


def test_a_receipt_that_can_not_be_read_is_not_taken_for_the_name_of_a_group(
    tmp_path: Path,
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    refused = invoke(tmp_path, "verify", str(loop))
    assert isinstance(refused.exception, OSError)


def test_data_and_database_are_their_owners_alone(tmp_path: Path) -> None:
    data = tmp_path / "above" / "data"
    assert invoke(data, "headers", "simulate", "--days", "1").exit_code == 0
    assert stat.S_IMODE((tmp_path / "above").stat().st_mode) == 0o700
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in data.iterdir()}
    assert "prover.sqlite3" in modes
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("way", ["list", "show"])
def test_a_key_command_removes_what_a_crash_left(tmp_path: Path, way: str) -> None:
    invoke(tmp_path, "key", "create")
    draft = tmp_path / "keys" / ".new-abcdef"
    draft.touch()
    assert invoke(tmp_path, "key", way).exit_code == 0
    assert not draft.exists()


def test_a_database_that_others_can_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "prover.sqlite3"
    file.touch(mode=0o600)
    _tell_exposure(Settings(data_dir=tmp_path))
    assert not caplog.records
    file.chmod(0o644)
    _tell_exposure(Settings(data_dir=tmp_path))
    assert f"the database {file} is open to others (mode 644)" in caplog.text
