"""Post a message, signed: once, or again and again while there is hope.

Signatures are those of Standard Webhooks (https://www.standardwebhooks.com).
"""

import hmac
import logging
import random
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from http.client import HTTPException
from importlib.metadata import version
from urllib.error import HTTPError
from urllib.parse import SplitResult, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from attrs import field, frozen

from prover_webhook.message import Message

log = logging.getLogger(__name__)

URL = "PROVER_WEBHOOK_URL"
SECRET = "PROVER_WEBHOOK_SECRET"
SECRET_PREFIX = "whsec_"

# What Standard Webhooks asks for: no secret that could be guessed, none longer than its hash uses.
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64

# A receiver takes a message in and answers; what it does with it is for later.
TIMEOUT_SECONDS = 10.0

# Half a minute in all: a receiver that restarts is back by then, and the changes that wait behind
# this one do not grow old. Each wait is twice the one before.
TRIES = 6
FIRST_WAIT_SECONDS = 1.0

# A receiver may ask for more patience, within reason.
MAX_WAIT_SECONDS = 60.0

# Answers that say "not now" below 500: request timeout, too early, too many requests.
NOT_NOW = frozenset({408, 425, 429})


class NotPosted(Exception):
    """The receiver did not take a message, and why; another try may help."""


@frozen
class Settings:
    """Where to post, and under which secret to sign."""

    url: str = field(repr=False)
    secret: bytes = field(repr=False)

    @property
    def receiver(self) -> str:
        """The receiver without the path, which may hold a token, for the log."""
        return f"{self._parts.scheme}://{self._parts.netloc}"

    @property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables.

    Raises:
        ValueError: One is missing or wrong; the message names it and does not repeat its value.
    """
    url, secret = environment.get(URL, ""), environment.get(SECRET, "")
    if not url or not secret:
        raise ValueError(f"{URL} and {SECRET} must be set, or the plugin webhook disabled")
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or "@" in parts.netloc:
        raise ValueError(f"{URL} must begin with https:// or http:// and have no user or password")
    try:
        key = b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        raise ValueError(f"{SECRET} must be base64, with or without {SECRET_PREFIX}") from None
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        raise ValueError(
            f"{SECRET} must be {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes in base64"
        )
    return Settings(url, key)


def sign(message: Message, timestamp: int, secret: bytes) -> str:
    """Return the signature of one try."""
    signed = f"{message.id}.{timestamp}.".encode() + message.body
    return f"v1,{b64encode(hmac.digest(secret, signed, 'sha256')).decode()}"


def post(message: Message, settings: Settings) -> None:
    """Post a message once, for a caller who comes again.

    Raises:
        NotPosted: It was not taken. Any refusal counts: who looks after the receiver may mend it.
    """
    if answer := _post(message, settings):
        raise NotPosted(f"{message.about}: not posted, {settings.receiver} {answer.why}")
    log.info("%s: posted to %s", message.about, settings.receiver)


def deliver(
    message: Message, settings: Settings, wait: Callable[[float], object] = time.sleep
) -> bool:
    """Post a message until it is taken or there is no more hope; return whether it was taken.

    Args:
        message: What to post.
        settings: Where to.
        wait: Lets that many seconds pass.
    """
    why = ""
    for number in range(TRIES):
        answer = _post(message, settings)
        if answer is None:
            log.info("%s: posted to %s", message.about, settings.receiver)
            return True
        why = answer.why
        if not answer.hope:
            break
        if number + 1 < TRIES:
            log.warning("%s: %s %s, trying again", message.about, settings.receiver, why)
            wait(_wait_seconds(number, answer.retry_after))
    log.error("%s: not posted, %s %s", message.about, settings.receiver, why)
    return False


@frozen
class _Refusal:
    """Why a message was not taken, whether trying again may help, and when."""

    why: str
    hope: bool = True
    retry_after: float = 0.0


def _opener() -> OpenerDirector:
    """Make what opens a URL. It follows no redirect: where that leads, nobody has configured."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _post(message: Message, settings: Settings) -> _Refusal | None:
    timestamp = int(time.time())
    request = Request(
        settings.url,
        message.body,
        headers={
            "Content-Type": "application/json",
            "User-Agent": f"prover-webhook/{version('prover-webhook')}",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(message, timestamp, settings.secret),
        },
    )
    try:
        _opener().open(request, timeout=TIMEOUT_SECONDS).close()
    except HTTPError as error:
        with error:
            return _Refusal(
                f"answered {error.code}",
                hope=error.code >= 500 or error.code in NOT_NOW,
                retry_after=_seconds(error.headers.get("Retry-After", "")),
            )
    except (OSError, HTTPException) as error:
        return _Refusal(f"did not answer ({error})")
    return None


def _seconds(text: str) -> float:
    # The header's other form, a date, is as good as nothing here.
    return float(text) if text.isascii() and text.isdecimal() else 0.0


def _wait_seconds(number: int, retry_after: float) -> float:
    # Several workers must not come back at the same time.
    own = FIRST_WAIT_SECONDS * 2.0**number * random.uniform(0.5, 1.0)
    return min(max(own, retry_after), MAX_WAIT_SECONDS)
