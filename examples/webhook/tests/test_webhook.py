"""Ends of groups and final states are posted, signed.

A final state is posted until the receiver takes it or there is no more hope, the end of a group
until the receiver takes it.
"""

import hmac
import json
import logging
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue

import attrs
import prover_twap
import prover_webhook
import pytest
from attrs import Factory, define
from hypothesis import given
from hypothesis import strategies as st
from prover_webhook import delivery, job_changed
from prover_webhook.delivery import NotPosted, Settings, deliver, post, read_settings, sign
from prover_webhook.message import Message, message_for, message_of_end

from prover_framework import GroupEnd, JobChange, JobState, RangeParameters
from prover_framework.testing import (
    GroupObserverConformance,
    ObserverConformance,
    series_of,
    service_in_a_box,
)

KEY = bytes(range(32))
SECRET = f"whsec_{b64encode(KEY).decode()}"
PATIENCE_SECONDS = 60

CHANGE = JobChange(
    group_id="job_123",
    proof_type="twap",
    job_id="018cc251",
    old_state=JobState.RUNNING,
    new_state=JobState.SUCCEEDED,
    attempts=1,
    error_code=None,
    error_message=None,
    changed_at_ms=1_704_067_205_527,
    result={"twap": 1.5},
)


@define
class Receiver:
    """A real HTTP server that answers as it is told, and 204 when it is told no more."""

    url: str
    answers: list[tuple[int, dict[str, str]]]
    got: "Queue[tuple[dict[str, str], bytes]]" = Factory(Queue)

    def next(self) -> tuple[dict[str, str], bytes]:
        return self.got.get(timeout=PATIENCE_SECONDS)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            there.got.put(({k.lower(): v for k, v in self.headers.items()}, body))
            status, headers = there.answers.pop(0) if there.answers else (204, {})
            if status:
                self.send_response(status)
                for name, text in {**headers, "Content-Length": "0"}.items():
                    self.send_header(name, text)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    there = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook?token=t0ken", [])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield there
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(receiver: Receiver) -> Settings:
    return read_settings({delivery.URL: receiver.url, delivery.SECRET: SECRET})


def check_signature(headers: dict[str, str], body: bytes) -> None:
    """Check as https://www.standardwebhooks.com tells receivers to."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    scheme, _, signature = headers["webhook-signature"].partition(",")
    assert scheme == "v1"
    assert hmac.compare_digest(hmac.digest(KEY, signed, "sha256"), b64decode(signature))


def test_a_final_state_is_posted_in_the_words_of_the_api(
    receiver: Receiver, settings: Settings
) -> None:
    assert deliver(message_for(CHANGE), settings)
    headers, body = receiver.next()
    check_signature(headers, body)
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {
        "type": "job.succeeded",
        "timestamp": "2024-01-01T00:00:05.527Z",
        "data": {
            "job_group_id": "job_123",
            "job_id": "twap",
            "id": "018cc251",
            "status": "succeeded",
            "attempts": 1,
            "error": None,
            "result": {"twap": 1.5},
        },
    }


def test_a_failure_has_its_code_and_message() -> None:
    change = attrs.evolve(
        CHANGE, new_state=JobState.FAILED, error_code="empty_range", error_message="no hour"
    )
    document = json.loads(message_for(change).body)
    assert document["type"] == "job.failed"
    assert document["data"]["error"] == {"code": "empty_range", "message": "no hour"}


def test_the_signature_is_that_of_the_specification() -> None:
    # What the tests of the reference libraries (github.com/standard-webhooks) expect.
    message = Message("msg_p5jXN8AQM9LWM0D4loKWxJek", "", b'{"test": 2432232314}')
    key = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert sign(message, 1614265330, key) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("first", [500, 503, 408, 425, 429, 0])
def test_a_receiver_that_fails_first_gets_the_same_message_again(
    receiver: Receiver, settings: Settings, first: int
) -> None:
    receiver.answers = [(first, {}), (502, {})]
    waits: list[float] = []
    assert deliver(message_for(CHANGE), settings, waits.append)
    tries = [receiver.next() for _ in range(3)]
    for headers, body in tries:
        check_signature(headers, body)
    assert len({(headers["webhook-id"], body) for headers, body in tries}) == 1
    one, other = waits
    assert 0.5 <= one <= 1
    assert 1 <= other <= 2


def test_a_receiver_that_is_gone_is_given_up_and_told_in_the_log(
    receiver: Receiver, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [(500, {})] * 10
    waits: list[float] = []
    assert not deliver(message_for(CHANGE), settings, waits.append)
    assert receiver.got.qsize() == delivery.TRIES == len(waits) + 1
    assert waits == sorted(waits)
    assert caplog.records[-1].levelname == "ERROR"
    assert caplog.records[-1].getMessage() == (
        f"job_123 twap succeeded: not posted, {settings.receiver} answered 500"
    )


def test_nobody_at_the_address_is_the_same_as_no_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Port 0 is nobody's.
    nobody = Settings("http://127.0.0.1:0/", KEY)
    waits: list[float] = []
    assert not deliver(message_for(CHANGE), nobody, waits.append)
    assert len(waits) == delivery.TRIES - 1
    assert "did not answer" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 410])
def test_an_answer_that_will_not_change_ends_it(
    receiver: Receiver, settings: Settings, status: int
) -> None:
    receiver.answers = [(status, {"Location": receiver.url})]
    waits: list[float] = []
    assert not deliver(message_for(CHANGE), settings, waits.append)
    assert (receiver.got.qsize(), waits) == (1, [])


@pytest.mark.parametrize(
    ("asked", "low", "high"), [("7", 7, 7), ("3600", 60, 60), ("0", 0.5, 1), ("soon", 0.5, 1)]
)
def test_a_receiver_may_ask_for_patience_within_reason(
    receiver: Receiver, settings: Settings, asked: str, low: float, high: float
) -> None:
    receiver.answers = [(503, {"Retry-After": asked})]
    waits: list[float] = []
    assert deliver(message_for(CHANGE), settings, waits.append)
    (waited,) = waits
    assert low <= waited <= high


def test_an_operator_who_tries_a_job_again_makes_another_message() -> None:
    again = attrs.evolve(CHANGE, changed_at_ms=CHANGE.changed_at_ms + 1)
    assert message_for(again).id != message_for(CHANGE).id


@pytest.mark.parametrize("state", sorted(set(JobState) - prover_webhook.FINAL))
def test_what_is_not_final_is_not_posted(state: JobState) -> None:
    # It would complain of the settings, of which there are none.
    job_changed(attrs.evolve(CHANGE, new_state=state))


def test_without_settings_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(delivery.URL, raising=False)
    with pytest.raises(ValueError, match=f"{delivery.URL} and {delivery.SECRET} must be set"):
        job_changed(CHANGE)


@pytest.mark.parametrize(
    ("url", "secret", "named"),
    [
        ("ftp://host/", SECRET, delivery.URL),
        ("host/path", SECRET, delivery.URL),
        ("https:///path", SECRET, delivery.URL),
        ("https://user:pass@host/", SECRET, delivery.URL),
        ("https://host/", "sesame, öffne dich", delivery.SECRET),
        ("https://host/", "whsec_!", delivery.SECRET),
        ("https://host/", b64encode(bytes(23)).decode(), delivery.SECRET),
        ("https://host/", b64encode(bytes(65)).decode(), delivery.SECRET),
    ],
)
def test_a_wrong_setting_is_named_and_not_repeated(url: str, secret: str, named: str) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        read_settings({delivery.URL: url, delivery.SECRET: secret})
    assert "pass" not in str(caught.value).removeprefix(named).replace("password", "")
    assert secret not in str(caught.value)


@given(st.binary(min_size=24, max_size=64), st.sampled_from(["", "whsec_"]))
def test_a_secret_is_read_as_it_was_made(key: bytes, prefix: str) -> None:
    secret = prefix + b64encode(key).decode()
    settings = read_settings({delivery.URL: "https://host/", delivery.SECRET: secret})
    assert settings.secret == key


def test_neither_secret_nor_token_is_shown(
    receiver: Receiver, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [(500, {}), (204, {}), (404, {})]
    deliver(message_for(CHANGE), settings, lambda _: None)
    deliver(message_for(CHANGE), settings)
    shown = f"{caplog.text} {settings!r}"
    assert "404" in shown
    for hidden in (SECRET, SECRET.removeprefix("whsec_"), KEY.hex(), "t0ken"):
        assert hidden not in shown


class Receives:
    @pytest.fixture(autouse=True)
    def _receiver(self, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(delivery.URL, receiver.url)
        monkeypatch.setenv(delivery.SECRET, SECRET)


class TestChanges(Receives, ObserverConformance):
    plugin = prover_webhook


class TestEnds(Receives, GroupObserverConformance):
    plugin = prover_webhook


@pytest.mark.parametrize("status", [400, 410, 429, 500, 0])
def test_an_end_that_is_not_taken_is_left_to_the_service_to_post_again(
    receiver: Receiver, settings: Settings, status: int
) -> None:
    message = Message("g.ended.1", "g ended, succeeded", b"{}")
    receiver.answers = [(status, {})]
    with pytest.raises(NotPosted, match=f"g ended, succeeded: not posted, {settings.receiver} "):
        post(message, settings)
    assert receiver.got.qsize() == 1
    post(message, settings)
    first, again = receiver.next(), receiver.next()
    assert first[0]["webhook-id"] == again[0]["webhook-id"] == "g.ended.1"
    check_signature(*again)


def next_of_kind(receiver: Receiver, kind: str) -> tuple[dict[str, str], bytes]:
    """Return the next message of a kind; those of the other come whenever they come."""
    while True:
        headers, body = receiver.next()
        if json.loads(body)["type"].startswith(kind):
            return headers, body


@pytest.fixture
def service_settings(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(delivery.URL, receiver.url)
    monkeypatch.setenv(delivery.SECRET, SECRET)


@pytest.mark.usefixtures("service_settings")
def test_a_service_posts_what_became_of_its_jobs(receiver: Receiver) -> None:
    with service_in_a_box(prover_webhook, prover_twap, series=series_of([(10, 2)] * 2)) as box:
        box.prove("twap", RangeParameters(start_timestamp=0, end_timestamp=7200))
        taken = next_of_kind(receiver, "job.")
        box.prove("twap", RangeParameters(start_timestamp=0, end_timestamp=1))
        other = next_of_kind(receiver, "job.")
    for headers, body in (taken, other):
        check_signature(headers, body)
    assert taken[0]["webhook-id"] != other[0]["webhook-id"]
    succeeded, failed = json.loads(taken[1]), json.loads(other[1])
    assert succeeded["type"] == "job.succeeded"
    assert succeeded["data"]["result"]["twap"] == 5.0
    assert failed["data"]["error"]["code"] == "empty_range"


@pytest.mark.usefixtures("service_settings")
def test_a_service_posts_the_end_of_a_group_with_a_receipt_that_verifies(
    receiver: Receiver,
) -> None:
    ranges = {"start_timestamp": 0, "end_timestamp": 7200}
    with service_in_a_box(prover_webhook, prover_twap, series=series_of([(10, 2)] * 2)) as box:
        # One of the two is refused first, whichever comes first.
        receiver.answers = [(500, {})]
        box.submit({"job_group_id": "round-7", "twap": ranges})
        headers, body = next_of_kind(receiver, "group.")
        check_signature(headers, body)
        document = json.loads(body)
        receipt = document["data"].pop("receipt")
        report = box.verify_body(json.dumps(receipt).encode())
        served = box.receipt("round-7")
    assert (document["type"], document["data"]) == (
        "group.ended",
        {"job_group_id": "round-7", "status": "succeeded", "jobs": {"twap": "succeeded"}},
    )
    assert headers["webhook-id"] == "round-7.ended.1"
    assert report.accepted
    end = GroupEnd(event=1, group_id="round-7", ended_at_ms=0, receipt=served, document=receipt)
    assert message_of_end(end).id == headers["webhook-id"]
