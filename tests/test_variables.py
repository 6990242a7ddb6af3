"""A variable that is no setting is named, with the one that was probably meant."""

import re
from pathlib import Path

import attrs
import pytest
from attrs import field, frozen
from page_session import ROOT

from prover_framework.errors import SettingsError
from prover_framework.settings import load_settings, plugin_settings, secret_variables
from prover_framework.variables import (
    Unknown,
    known_variables,
    misspelt,
    unowned,
)

SECRET = "postgres://u:very-secret@db/n"


def test_the_nearest_setting_is_named_and_what_is_like_none_is_left_to_those_with_plugins() -> None:
    given = ["PROVER_DATADIR", "PROVER_LOGLEVEL", "PROVER_WEBHOOK_URL", "PATH", "PROVER_PORT"]
    told = {each.name: each.nearest for each in misspelt([*given, "PROVER_DATABASE_URL"])}
    assert told == {
        "PROVER_DATADIR": "PROVER_DATA_DIR",
        "PROVER_LOGLEVEL": "PROVER_LOG_LEVEL",
        "PROVER_DATABASE_URL": "DATABASE_URL",
    }
    assert [*unowned(given, ["twap"])] == [Unknown("PROVER_WEBHOOK_URL")]
    assert not [*unowned(given, ["twap", "webhook"])]
    assert str(Unknown("PROVER_X")) == "PROVER_X is no setting and has no effect"


def test_what_is_read_is_never_named() -> None:
    assert not [*misspelt(known_variables())]
    assert not [*unowned(known_variables(), [])]


def test_variables_of_plugins_are_named_by_whoever_knows_the_plugins() -> None:
    given = ["PROVER_PLUGIN__SIGNED_QUOTE__URL", "PROVER_PLUGIN__SIGND_QUOTE__URL"]
    assert not [*misspelt(given)]
    (told,) = unowned(given, ["signed-quote", "twap"])
    assert told == Unknown(given[1], given[0])


def test_the_reference_names_each_setting_that_can_stand_in_a_file() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    section = page.partition("## Secrets in files")[2].partition("such as")[0]
    assert set(re.findall(r"`([A-Z_]{6,})`", section)) == set(secret_variables())


def test_secrets_can_stand_in_files(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    assert load_settings({"DATABASE_URL_FILE": str(file)}).database_url == SECRET


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "must hold the secret"), (b"\xff", "is not UTF-8"), (b"mysql://very-secret", "begin w")],
)
def test_what_is_wrong_with_a_file_is_told_without_the_secret(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=complaint) as caught:
        load_settings({"DATABASE_URL_FILE": str(file)})
    assert "very-secret" not in str(caught.value)


def test_a_file_that_is_missing_or_one_too_many_is_told() -> None:
    with pytest.raises(SettingsError, match="DATABASE_URL_FILE: /nope cannot be read: No such"):
        load_settings({"DATABASE_URL_FILE": "/nope"})
    both = {"DATABASE_URL_FILE": "/nope", "DATABASE_URL": SECRET}
    with pytest.raises(SettingsError, match="DATABASE_URL and DATABASE_URL_FILE are both set"):
        load_settings(both)


@frozen(kw_only=True)
class Own:
    key: str = field(repr=False)
    log_file: str = ""


def test_secrets_of_plugins_can_stand_in_files_too(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("very-secret\n")
    prefix = "PROVER_PLUGIN__FEED__"
    read = plugin_settings("feed", Own, {f"{prefix}KEY_FILE": str(file), f"{prefix}LOG_FILE": "x"})
    assert attrs.asdict(read) == {"key": "very-secret", "log_file": "x"}
    with pytest.raises(SettingsError, match="are both set"):
        plugin_settings("feed", Own, {f"{prefix}KEY_FILE": str(file), f"{prefix}KEY": "y"})
