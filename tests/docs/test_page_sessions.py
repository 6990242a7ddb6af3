"""A page that does not do what it says fails, with its name and line."""

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from page_session import Page, SessionFailed, compare_json, run_page


def page(text: str) -> Page:
    return Page("page.md", dedent(text))


def test_blocks_run_in_one_shell_from_an_empty_directory(tmp_path: Path) -> None:
    run_page(
        page(
            """\
            ```sh
            ls -A
            ls -A ~
            greeting=hello
            mkdir inner
            cd inner
            ```

            ```sh
            sleep 1000 &
            echo "$greeting" from "$(basename "$PWD")"
            ```

            ```text
            hello from inner
            ```
            """
        ),
        tmp_path,
    )
    assert (tmp_path / "printed" / "1.out").read_text() == ""


@pytest.mark.parametrize("command", ["false", "no-such-command", "false | true", "cd nowhere"])
def test_a_command_that_fails_is_named_by_its_line(tmp_path: Path, command: str) -> None:
    text = f"```sh\ntrue\n```\n\n```sh\n{command}\necho went on\n```\n"
    with pytest.raises(SessionFailed, match=r"page\.md:5: ") as failed:
        run_page(page(text), tmp_path)
    assert "went on" not in str(failed.value)


@pytest.mark.parametrize(
    ("language", "printed", "shown"),
    [
        ("text", "one\ntwo", "two\none"),
        ("text", "one", "on"),
        ("json", '{"a": 1}', '{"a": 1, "b": 2}'),
        ("json", "", "{}"),
    ],
)
def test_an_answer_that_was_not_given_is_named_by_its_line(
    tmp_path: Path, language: str, printed: str, shown: str
) -> None:
    text = f"```sh\ncat <<'END'\n{printed}\nEND\n```\n\n```{language}\n{shown}\n```\n"
    line = 7 + printed.count("\n")
    with pytest.raises(SessionFailed, match=rf"page\.md:{line}: "):
        run_page(page(text), tmp_path)


def test_a_block_that_is_not_run_says_why(tmp_path: Path) -> None:
    text = "<!-- not run: needs the moon -->\n```sh\nfalse\n```\n\n```json\n{}\n```\n"
    (block, _) = page(text).blocks
    assert block.reason_not_run == "needs the moon"
    assert page(text).answers == []
    run_page(page(text), tmp_path)


def test_places_of_the_page_are_those_of_the_session(tmp_path: Path) -> None:
    text = "```sh\necho http://127.0.0.1:3000 http://node.example\n```\n"
    shown = "\n```text\nhttp://127.0.0.1:3000 http://node.example\n```\n"
    run_page(page(text + shown), tmp_path, places={"node.example": "127.0.0.1:1"})
    printed = (tmp_path / "printed" / "1.out").read_text()
    assert "3000" not in printed
    assert printed.endswith("http://127.0.0.1:1\n")


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ('{"a": 1, "…": "…"}', '{"a": 1, "b": 2}'),
        ('["…"]', "[1, 2]"),
        ('[1, "…"]', "[1]"),
        ('"…"', "{}"),
        ('"0x…"', '"0x12"'),
        ('"2024-01-01T00:00:05.476Z"', '"2025-02-03T04:05:06.789Z"'),
        ("1.00000001", "1.0"),
    ],
)
def test_an_ellipsis_stands_for_what_differs(shown: str, real: str) -> None:
    compare_json(json.loads(shown), json.loads(real), "$")


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ('{"a": 1}', '{"a": 1, "b": 2}'),
        ('{"a": 1}', "{}"),
        ("[1]", "[1, 2]"),
        ('[1, 2, "…"]', "[1]"),
        ("1", "2"),
        ("1", "1.0"),
        ("1", "true"),
        ("1.5", "1.6"),
        ('"0x…"', '"12"'),
        ('"a"', "null"),
        ("null", '"a"'),
        ('"2024-01-01T00:00:05.476Z"', '"yesterday"'),
    ],
)
def test_all_else_is_compared(shown: str, real: str) -> None:
    wrong: Any = json.loads(shown)
    with pytest.raises(AssertionError, match=r"\$"):
        compare_json(wrong, json.loads(real), "$")
