"""What a new user does, with nothing but what pip installs: a proof type of one's own, examples.

The steps are those of the tutorial. Nothing here is editable, and no source tree is on the path.
"""

import base64
import hmac
import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from attrs import evolve, frozen
from distributions import PATIENCE_SECONDS, ROOT, Environment, build
from waiting import wait_until

from prover_framework import TimeRange
from prover_framework.cli.new_plugin import KINDS, names_for, write_plugin
from prover_framework.testing import simulated_series

DAYS = 20
END = 1_704_067_200
START = END - DAYS * 86_400
RANGE = {"start_timestamp": START, "end_timestamp": END}
REQUIRED = {"twap": RANGE, "reserve_price": RANGE, "max_return": {**RANGE, "window_hours": 240}}

HIGHEST = "highest = max(counted, key="
LOWEST = "highest = min(counted, key="

# The first run on a machine fetches some hundred megabytes.
pytestmark = pytest.mark.timeout(600)

SECRET = base64.b64encode(bytes(range(32))).decode()


@contextmanager
def service(fresh: Environment, **settings: str) -> Iterator[str]:
    """Run ``prover up`` on a free port; yield where it answers."""
    log = fresh.work / f"service-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [fresh.command("prover"), "up", "--port", "0"],
            cwd=fresh.work,
            env={**fresh.variables, **settings},
            stderr=file,
        )
    try:

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            return "listening on " in log.read_text()

        wait_until(listens, seconds=PATIENCE_SECONDS)
        yield log.read_text().partition("listening on ")[2].split()[0]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0, log.read_text()


def call(url: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        url,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
        text: str = answer.read().decode()
        return text


def prove(url: str, group: str, **jobs: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Submit a group and wait; return the results by proof type."""
    status, answer = call(f"{url}/api/job", {"job_group_id": group, **jobs})
    assert status == 200, answer
    final = ("succeeded", "failed")
    wait_until(
        lambda: call(f"{url}/api/job/{group}")[1]["status"] in final, seconds=PATIENCE_SECONDS
    )
    found = call(f"{url}/api/job/{group}")[1]
    assert found["status"] == "succeeded", found
    return {job["job_id"]: job["result"] for job in found["jobs"]}


def check_receipt(user: Environment, group: str, receipt: str, number: float) -> None:
    """Check a receipt with nothing but the service's public key, and an altered one."""
    file = user.work / f"{group}.json"
    file.write_text(receipt)
    report = user.run("prover", "verify", file, "--key", user.work / "key.json")
    assert "signed by the pinned key" in report
    assert "computed again with the same result" in report
    assert receipt.count(repr(number)) == 1
    file.write_text(receipt.replace(repr(number), repr(number * 2)))
    report = user.run("prover", "verify", file, "--key", user.work / "key.json", status=1)
    assert "computed again with another result" in report


@pytest.fixture(scope="module")
def with_headers(fresh: Environment) -> Environment:
    """The environment, with some days of a chain and a key that signs receipts."""
    (fresh.work / "key.json").write_text(fresh.run("prover", "key", "create"))
    fresh.run("prover", "headers", "simulate", "--days", str(DAYS), "--end", str(END))
    return fresh


def test_only_what_pip_installed_is_there(fresh: Environment) -> None:
    program = """
import sys, prover_framework, prover_twap
print([name for name in ("pytest", "hypothesis", "ruff") if name in sys.modules])
print(prover_framework.__file__, prover_twap.__file__, sys.path)
"""
    modules, paths = fresh.run("python", "-c", program).splitlines()
    assert modules == "[]"
    assert str(fresh.directory) in paths
    assert str(ROOT / "prover_framework") not in paths
    assert str(ROOT / "plugins") not in paths


def test_a_proof_type_of_ones_own(
    with_headers: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    user, began = with_headers, time.monotonic()
    user.run("prover", "new-plugin", "lowest-hour")
    project = user.work / "prover-lowest-hour"
    user.run("pip", "install", ".[testing]", cwd=project)
    assert " passed" in user.run("pytest", cwd=project)

    module = project / "src" / "prover_lowest_hour" / "__init__.py"
    source = module.read_text()
    assert source.count(HIGHEST) == 1
    module.write_text(source.replace(HIGHEST, LOWEST))
    user.run("pip", "wheel", "--no-deps", "-w", "dist", ".", cwd=project)
    (wheel,) = project.glob("dist/*.whl")
    user.run("pip", "install", "--force-reinstall", "--no-deps", wheel)
    assert "lowest_hour" in user.run("prover", "plugins")

    with service(user) as url:
        mine = prove(url, "mine", **REQUIRED, lowest_hour=RANGE)["lowest_hour"]
        ended = time.monotonic()
        receipt = read(f"{url}/api/job/mine/receipt")
    check_receipt(user, "mine", receipt, mine["lowest_hour"])
    with capsys.disabled():
        print(f"\n  from prover new-plugin to its result: {ended - began:.1f} s")

    series = simulated_series(TimeRange(START, END))
    assert mine["lowest_hour"] == min(series.means_wei())
    assert mine["evidence"]["inputs"]["hourly_base_fee"]["facts"]["first_hour"] == START
    assert mine["evidence"]["simulated"]

    user.run("pip", "uninstall", "--yes", "prover-lowest-hour")
    with service(user) as url:
        status, answer = call(
            f"{url}/api/job", {"job_group_id": "again", **REQUIRED, "lowest_hour": RANGE}
        )
        # What it has proved stays, and is told.
        assert prove_again(url, "mine")["lowest_hour"] == mine
    assert status == 400
    assert answer == {
        "status": "error",
        "message": "'lowest_hour': is not an installed proof type "
        "(installed: max_return, reserve_price, twap)",
        "job_group_id": "again",
    }


FIRST_STEPS = """pip install -e '.[testing]'
pytest
prover plugins                # lists {name}
"""


def blocks(project: Path) -> list[str]:
    """Return what a README has one type."""
    readme = (project / "README.md").read_text()
    return re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)


def typed(user: Environment, block: str, cwd: Path) -> str:
    """Type a block into a shell of the environment; return what it printed."""
    path = f"{user.directory / 'bin'}{os.pathsep}{os.defpath}"
    done = subprocess.run(
        ["bash", "-euc", block],
        cwd=cwd,
        env={**user.variables, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{block}{done.stdout}"
    return done.stdout


# The proof type that the other kinds are tried with.
COMPANION = """prover new-plugin highest-hour --directory ../prover-highest-hour
pip install ../prover-highest-hour
"""


def written_for_each_kind(user: Environment) -> dict[str, Path]:
    """Write a plugin of each kind, install all from their wheels, and run their tests.

    Those of the proof type are run where one is taken further.
    """
    names = {kind: f"my-{kind}" for kind in KINDS} | {"proof-type": "highest-hour"}
    projects = {kind: user.work / f"prover-{name}" for kind, name in names.items()}
    for kind, name in names.items():
        names_of = names_for(name, KINDS[kind])
        write_plugin(names_of, projects[kind], KINDS[kind])
        build(projects[kind], user.work / "wheels", "wheel")
    wheels = [f"{path}[testing]" for path in (user.work / "wheels").glob("*.whl")]
    assert len(wheels) == len(KINDS)
    user.run("pip", "install", *wheels)
    options = ("-c", os.devnull, "-p", "no:cacheprovider", "--import-mode=importlib")
    tests = [project / "tests" for kind, project in projects.items() if kind != "proof-type"]
    assert " passed" in user.run("pytest", *options, "--rootdir", user.work, *tests)
    return projects


@frozen
class Steps:
    """What READMEs have one type: once for all, to start the service, and then for each kind."""

    once: list[str]
    settings: dict[str, str]
    then: dict[str, str]


def steps_of(projects: Mapping[str, Path]) -> Steps:
    """Return what is left to be typed once all is installed, and the tests are run."""
    steps = Steps([], {}, {})
    for kind, project in projects.items():
        first, *rest = blocks(project)
        assert first == FIRST_STEPS.format(
            name=project.name.removeprefix("prover-").replace("-", "_")
        )
        if kind == "input-kind":
            assert not rest, "without a proof type there is nothing to ask for"
            continue
        *preparing, starting, steps.then[kind] = rest
        assert kind == "proof-type" or preparing[-1].startswith(COMPANION)
        steps.once.extend(block.removeprefix(COMPANION) for block in preparing)
        *assignments, command, verb = shlex.split(starting)
        assert (command, verb) == ("prover", "up")
        for name, _, value in (each.partition("=") for each in assignments):
            steps.settings[name] = value
    return steps


# What all of them have typed first was done for all at once: it is slow, and the same.
@pytest.mark.slow
def test_each_kind_of_plugin_works_as_its_readme_says(fresh: Environment, tmp_path: Path) -> None:
    user = Environment(
        fresh.directory,
        fresh.work,
        {
            **fresh.variables,
            "HOME": str(tmp_path),
            "PROVER_DATA_DIR": str(tmp_path / "data"),
            # What the README of the kind of input says that a service needs.
            "PROVER_PLUGIN__MY_INPUT_KIND__SHA256": f'"0x{"ab" * 32}"',
        },
    )
    projects = written_for_each_kind(user)
    installed = user.run("prover", "plugins")
    assert all(name in installed for name in ("highest_hour", "my_input_kind", "my_seal"))
    steps = steps_of(projects)
    for block in dict.fromkeys(steps.once):
        typed(user, block, user.work)
    with service(user, **steps.settings) as url:
        said = {kind: typed(user, block, projects[kind]) for kind, block in steps.then.items()}
        # A service that stops waits for its observers.
        assert call(f"{url}/api/job/my_observer")[1]["status"] == "succeeded"
    assert "made by somebody who has the same key" in said["seal"]
    assert all("succeeded" in text for text in said.values()), said
    ended = (user.work / "ended.jsonl").read_text().splitlines()
    assert {json.loads(line)["status"] for line in ended} == {"succeeded"}
    receipt = json.loads((projects["composer"] / "my_composer.json").read_text())
    (made,) = receipt["statement"]["composed"]
    assert list(made["artefacts"][0]["content"]["numbers"]) == ["highest_hour"]
    user.run("pip", "uninstall", "--yes", *(project.name for project in projects.values()))


def prove_again(url: str, group: str) -> dict[str, Any]:
    return {job["job_id"]: job["result"] for job in call(f"{url}/api/job/{group}")[1]["jobs"]}


@pytest.fixture
def receiver() -> Iterator[tuple[str, "Queue[tuple[Any, bytes]]"]]:
    """An HTTP server that is not ready for the first request it gets."""
    got: Queue[tuple[Any, bytes]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            first = got.empty()
            got.put((self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(503 if first else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/", got
    server.shutdown()
    thread.join()
    server.server_close()


EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/pyproject.toml"))


# Those of a proof type have its receipts verified, and those over other data refused.
@pytest.mark.slow
def test_the_examples_pass_their_own_tests(fresh: Environment) -> None:
    names = [f"prover-{example.replace('_', '-')}" for example in EXAMPLES]
    fresh.run("pip", "install", *(f"{name}[testing]" for name in names))
    tests = [ROOT / "examples" / example / "tests" for example in EXAMPLES]
    done = fresh.run(
        "pytest",
        *("-c", os.devnull, "-p", "no:cacheprovider", "--import-mode=importlib"),
        "--rootdir",
        ROOT / "examples",
        *tests,
    )
    assert " passed" in done
    fresh.run("pip", "uninstall", "--yes", *names)


def test_examples_serve_until_they_are_uninstalled(
    with_headers: Environment, receiver: tuple[str, "Queue[tuple[Any, bytes]]"]
) -> None:
    url_of_receiver, got = receiver
    user = evolve(
        with_headers,
        variables={
            **with_headers.variables,
            "PROVER_WEBHOOK_URL": url_of_receiver,
            "PROVER_WEBHOOK_SECRET": SECRET,
            "PROVER_PLUGINS": "volatility,webhook",
        },
    )
    user.run("pip", "install", "prover-volatility", "prover-webhook")
    asked = {**RANGE, "interval_hours": 24}
    with service(user) as url:
        result = prove(url, "swings", volatility=asked)["volatility"]
        receipt = read(f"{url}/api/job/swings/receipt/volatility")
        described = read(f"{url}/api/job/swings/charts")
        drawn = user.run("prover", "status", "swings", "--chart")
        # The state of the job and the end of its group, of which the first to come is refused.
        posts = [got.get(timeout=PATIENCE_SECONDS) for _ in range(3)]
    check_receipt(user, "swings", receipt, result["volatility"])
    assert (result["returns"], result["interval_hours"]) == (19, 24)
    # The core knows none of its charts: the plugin describes them.
    for text in (described, drawn):
        assert "Volatility of a year from the last 19 returns" in text
        assert "Volatility of the range" in text
    assert posts[0][0]["webhook-id"] in [headers["webhook-id"] for headers, _ in posts[1:]]
    for headers, body in posts:
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.digest(base64.b64decode(SECRET), signed, "sha256"))
        assert headers["webhook-signature"] == f"v1,{expected.decode()}"
    told = {document["type"]: document["data"] for document in (json.loads(b) for _, b in posts)}
    assert told["job.succeeded"]["result"]["volatility"] == result["volatility"]
    assert told["group.ended"]["receipt"]["receipts"] == [json.loads(receipt)]

    user.run("pip", "uninstall", "--yes", "prover-volatility", "prover-webhook")
    with service(with_headers) as url:
        status, answer = call(
            f"{url}/api/job", {"job_group_id": "more", **REQUIRED, "volatility": asked}
        )
    assert status == 400
    assert answer["message"].startswith("'volatility': is not an installed proof type (installed:")


def test_an_sdist_installs_as_well_as_a_wheel(fresh: Environment, built: Path) -> None:
    (sdist,) = built.glob("prover_twap-*.tar.gz")
    fresh.run("pip", "install", "--force-reinstall", "--no-deps", sdist)
    assert "twap" in fresh.run("prover", "plugins")
