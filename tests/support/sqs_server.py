"""SQS for tests: moto in a process of its own, and a server that answers what a test tells it."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import Factory, define, frozen

REGION = "eu-west-1"
ACCOUNT = "123456789012"

# moto ends when its standard input does: with the test run, however that ends. A number on it
# lets so many seconds pass by moto's clock.
MOTO = """
import sys
from moto.server import ThreadedMotoServer
from moto.sqs import models
passed = 0.0
def now(original=models.unix_time):
    return original() + passed
def now_ms():
    return now() * 1000
models.unix_time = now
models.unix_time_millis = now_ms
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
for line in sys.stdin:
    passed += float(line)
    print("passed", passed, flush=True)
"""


@frozen
class SqsEmulator:
    """A running emulator of SQS.

    Args:
        url: Its endpoint.
        process: Its process.
    """

    url: str
    process: "subprocess.Popen[str]"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a client of it."""
        return aws_environment(self.url)

    def time_passes(self, seconds: float) -> None:
        """Let seconds pass by the clock that messages become visible by."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        # It may have greeted before, and logs what it likes.
        for line in self.process.stdout:
            if line.startswith("passed"):
                return
        raise AssertionError("the emulator has ended")


@contextmanager
def moto_server() -> Iterator[SqsEmulator]:
    command = [sys.executable, "-c", MOTO]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        port = process.stdout.readline().strip()
        assert port, "moto did not start"
        yield SqsEmulator(f"http://127.0.0.1:{port}", process)
        process.stdin.close()
        process.wait(10)


def aws_environment(endpoint: str) -> dict[str, str]:
    """Return the variables of an AWS client that sees nothing of this machine's configuration."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@frozen
class Call:
    """A call that the scripted server got: its operation, its parameters, and who has signed it."""

    operation: str
    parameters: Mapping[str, Any]
    access_key: str = ""

    @property
    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.parameters["Entries"]
        return entries


@frozen
class Answer:
    """What the scripted server answers: an object as JSON, or raw text."""

    content: object = Factory(dict)
    status: int = 200


class Hang:
    """Instead of an answer: nothing, until the test ends."""


Script = Callable[[Call], Answer | Hang]


def refusal(code: str, message: str = "", status: int = 400) -> Answer:
    return Answer({"__type": f"com.amazonaws.sqs#{code}", "message": message}, status)


def success(call: Call) -> Answer:
    """Answer as SQS does when all goes well and the queue is empty."""
    if "Entries" in call.parameters:
        return Answer({"Successful": [{"Id": entry["Id"]} for entry in call.entries]})
    return Answer()


@define
class ScriptedServer:
    """A server that speaks SQS's protocol and answers what its script says.

    Args:
        url: Its endpoint.
        script: Makes an answer to each call; a test replaces it.
        calls: All calls so far.
        ended: Set it, and calls that hang are hung up on.
    """

    url: str
    script: Script = success
    calls: list[Call] = Factory(list)
    ended: threading.Event = Factory(threading.Event)

    def of(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    @property
    def queue_url(self) -> str:
        return f"{self.url}/{ACCOUNT}/jobs"


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            call = Call(
                self.headers["X-Amz-Target"].rpartition(".")[2],
                json.loads(body),
                self.headers.get("Authorization", "").partition("Credential=")[2].partition("/")[0],
            )
            scripted.calls.append(call)
            answer = scripted.script(call)
            if isinstance(answer, Hang):
                scripted.ended.wait()
                self.close_connection = True
                return
            content = answer.content
            text = content if isinstance(content, str) else json.dumps(content)
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Keep the test's output for the test."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that has gone is what some tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        scripted = ScriptedServer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield scripted
        finally:
            scripted.ended.set()
            server.shutdown()
            thread.join()
