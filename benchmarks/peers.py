"""Other job systems on the same servers: celery with its SQS transport, and a plain boto3 loop.

They run in a virtual environment of their own (``make bench-peers`` makes it), since nothing of the
project needs them.
"""

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen
from sqs_server import REGION

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv-peers" / "bin"

MESSAGES = 1500
WORKERS = 2
PATIENCE_SECONDS = 120.0

CELERY = """
import os
import sys
import time

from celery import Celery

app = Celery("peer", broker=os.environ["PEER_BROKER"], backend=os.environ.get("PEER_BACKEND"))
app.conf.update(
    broker_transport_options={
        "region": os.environ["AWS_REGION"],
        "is_secure": False,
        "wait_time_seconds": 20,
        "visibility_timeout": 60,
        "predefined_queues": {
            "celery": {
                "url": os.environ["PEER_QUEUE"],
                "access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
                "secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
            }
        },
    },
    task_ignore_result="PEER_BACKEND" not in os.environ,
    # As much as one receive brings for each process.
    worker_prefetch_multiplier=10,
)

@app.task(name="noop")
def noop():
    with open(os.environ["PEER_DONE"], "ab") as file:
        file.write(b".")
    return 1

def send(count):
    began = time.perf_counter()
    for _ in range(count):
        noop.delay()
    print(count / (time.perf_counter() - began))

if __name__ == "__main__":
    send(int(sys.argv[1]))
"""

BOTO3_SEND = """
import os, sys, time
import boto3

sqs, url, count = boto3.client("sqs"), os.environ["PEER_QUEUE"], int(sys.argv[1])
began = time.perf_counter()
for number in range(count):
    sqs.send_message(QueueUrl=url, MessageBody=str(number))
print(count / (time.perf_counter() - began))
"""

BOTO3_WORK = """
import os, sys, time
import boto3

sqs, url, count = boto3.client("sqs"), os.environ["PEER_QUEUE"], int(sys.argv[1])
began, done = time.perf_counter(), 0
while done < count:
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
    messages = got.get("Messages", [])
    if messages:
        sqs.delete_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
                for index, message in enumerate(messages)
            ],
        )
    done += len(messages)
print(count / (time.perf_counter() - began))
"""

MAKE_QUEUE = """
import sys
import boto3

print(boto3.client("sqs").create_queue(QueueName=sys.argv[1])["QueueUrl"])
"""


@frozen
class Rates:
    """What others reach: messages sent a second, and no-op jobs done a second."""

    sends: Mapping[str, float]
    jobs: Mapping[str, float]


def measure(sqs_url: str, database_url: str, directory: Path) -> Rates:
    """Measure celery without and with stored results, and boto3 alone.

    Args:
        sqs_url: Endpoint of SQS.
        database_url: An empty database on PostgreSQL for results.
        directory: For files.
    """
    (directory / "peer.py").write_text(CELERY)
    environment = {
        **os.environ,
        # boto3 knows no other name for the region.
        "AWS_DEFAULT_REGION": REGION,
        "PEER_BROKER": sqs_url.replace("http://", "sqs://test:test@") + "//",
    }
    results = "db+" + database_url.replace("postgres://", "postgresql+psycopg2://")
    sends: dict[str, float] = {}
    jobs: dict[str, float] = {}
    for name, backend in (
        ("celery, results dropped", {}),
        ("celery, results stored", {"PEER_BACKEND": results}),
    ):
        slug = "stored" if backend else "dropped"
        variables = {
            **environment,
            **backend,
            "PEER_QUEUE": _python(MAKE_QUEUE, f"celery-{slug}", environment=environment),
            "PEER_DONE": str(directory / f"done-{slug}"),
        }
        sends[name] = float(_run([BIN / "python", "peer.py", str(MESSAGES)], directory, variables))
        jobs[name] = _celery_jobs(directory, variables)
    variables = {**environment, "PEER_QUEUE": _python(MAKE_QUEUE, "boto", environment=environment)}
    for rates, program in ((sends, BOTO3_SEND), (jobs, BOTO3_WORK)):
        rates["boto3 loop, nothing computed or stored"] = float(
            _python(program, str(MESSAGES), environment=variables)
        )
    return Rates(sends, jobs)


def _celery_jobs(directory: Path, variables: Mapping[str, str]) -> float:
    done = Path(variables["PEER_DONE"])
    done.touch()
    arguments = ["-A", "peer", "worker", "-c", str(WORKERS), "-l", "ERROR"]
    with subprocess.Popen(
        [BIN / "celery", *arguments], cwd=directory, env=variables, stdout=subprocess.DEVNULL
    ) as worker:
        try:
            _wait_for_size(done, 1)
            began = time.perf_counter()
            first = done.stat().st_size
            _wait_for_size(done, MESSAGES)
            return (MESSAGES - first) / (time.perf_counter() - began)
        finally:
            worker.terminate()
            worker.wait(60)


def _wait_for_size(file: Path, size: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while file.stat().st_size < size:
        if time.monotonic() > deadline:
            raise TimeoutError(f"celery has done {file.stat().st_size} of {size} jobs")
        time.sleep(0.01)


def _python(program: str, *arguments: str, environment: Mapping[str, str]) -> str:
    return _run([BIN / "python", "-c", program, *arguments], ROOT, environment)


def _run(command: list[str | Path], directory: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, cwd=directory, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()
