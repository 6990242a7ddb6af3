"""A service that cannot start says why in one line."""

import ast
import http.client
import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

import prover_framework

PROVER = Path(sys.executable).with_name("prover")


@pytest.mark.parametrize("command", ["up", "api"])
def test_a_port_in_use_is_one_line(tmp_path: Path, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [PROVER, command, "--port", port],
            env={**os.environ, "PROVER_DATA_DIR": str(tmp_path), "PROVER_LOG_LEVEL": "ERROR"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"prover: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "choose another address with PROVER_HOST and PROVER_PORT\n"
    )


def test_a_data_directory_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [PROVER, "migrate"],
        env={**os.environ, "PROVER_DATA_DIR": str(tmp_path / "file" / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4
    assert done.stderr.startswith("prover: the data directory ")
    assert len(done.stderr.splitlines()) == 1


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "PROVER_DATA_DIR": str(tmp_path), "PROVER_PORT": "0", **more}


@pytest.mark.parametrize("command", ["up", "api"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_for_others_is_refused_in_one_line_unless_it_is_called_open(
    tmp_path: Path, command: str, host: str
) -> None:
    done = subprocess.run(
        [PROVER, command, "--host", host],
        env=environment(tmp_path, PROVER_LOG_LEVEL="ERROR"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"prover: cannot listen on {host}: other machines reach it, and whoever does can use the "
        'whole API; listen on 127.0.0.1, make keys for its callers with "prover key api create", '
        "or say that everybody may call it with PROVER_OPEN=true or --open\n"
    )


@contextmanager
def api(
    tmp_path: Path, options: Sequence[str] = (), *, files: int | None = None, **more: str
) -> Iterator[tuple[int, list[str]]]:
    """Run ``prover api``; yield its port and its log, which is complete at the end."""

    def limit() -> None:
        if files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    with subprocess.Popen(
        [PROVER, "api", *options],
        env=environment(tmp_path, **more),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    ) as process:
        assert process.stderr is not None
        lines: list[str] = []
        try:
            while not (lines and (url := re.search(r"listening on \S+:(\d+)$", lines[-1]))):
                lines.append(process.stderr.readline())
                assert lines[-1], "".join(lines)
                lines[-1] = lines[-1].rstrip()
            yield int(url[1]), lines
            process.terminate()
            lines += process.stderr.read().splitlines()
            assert process.wait(60) == 0
        finally:
            process.kill()


def healthy(host: str, port: int) -> bool:
    with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200


@pytest.mark.parametrize("how", ["setting", "option"])
def test_an_open_address_of_ipv6_serves_ipv4_too_and_says_that_it_is_open(
    tmp_path: Path, how: str
) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    options = ["--host", "::", *(["--open"] if how == "option" else [])]
    with api(tmp_path, options, PROVER_OPEN=str(how == "setting")) as (port, lines):
        assert healthy("127.0.0.1", port)
        assert healthy("::1", port)
    [line] = [line for line in lines if "open:" in line]
    assert (
        f"WARNING prover_framework.web.server: API: open: whoever can reach http://[::]:{port} "
        in line
    )


def test_idle_connections_up_to_the_limit_of_files_neither_stop_the_api_nor_fill_the_log(
    tmp_path: Path,
) -> None:
    """As it was seen: 1,100 idle connections, 1,024 files."""
    with api(tmp_path, files=256, PROVER_WORKER_SLOTS="2") as (port, lines), ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
        for _ in range(20):
            assert healthy("127.0.0.1", port)
    assert any(
        "keeps 112 connections open, not 1000: this process may open 256" in x for x in lines
    )
    assert len(lines) < 10, lines
    assert not any("ERROR" in line or "Traceback" in line for line in lines)


def test_no_error_is_raised_where_python_would_put_it_into_a_group_again() -> None:
    """An error that is raised in an except* comes out of Python 3.11.2 as a group of one."""
    package = Path(prover_framework.__file__).parent
    handlers = [
        handler
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.TryStar)
        for handler in node.handlers
    ]
    assert not [
        node for handler in handlers for node in ast.walk(handler) if isinstance(node, ast.Raise)
    ]
