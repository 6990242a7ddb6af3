"""What every queue does: wake workers. The truth about jobs is in the database."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from attrs import frozen


@frozen
class Outgoing:
    """A message to be sent.

    Args:
        job_id: Unique id of the job, to tell which of a batch failed.
        queue: Name of the queue.
        body: The message, as JSON text.
        delay_seconds: How long to hold it back.
        sends: Another number for each intent to send the job's message; by it a queue that drops
            copies tells a new one from one whose answer was lost.
    """

    job_id: str
    queue: str
    body: str
    delay_seconds: float = 0.0
    sends: int = 0


@frozen
class SendFailure:
    """A message of a batch that was not sent, and why."""

    job_id: str
    reason: str


@frozen
class Received:
    """A message that was received, invisible to others for a while.

    Args:
        queue: Name of the queue it came from.
        body: The message.
        receipt_handle: Proof of this receive, which deleting and hiding need.
        receive_count: How often it was received, this time included.
    """

    queue: str
    body: str
    receipt_handle: str
    receive_count: int


@frozen(kw_only=True)
class Letter:
    """A dead letter: a message that nobody could understand, or that was received too often.

    Args:
        id: What it is called by.
        queue: Name of the queue it came from.
        body: The message.
        reason: Why it is here; None when nobody said, since the queue itself moved it here.
        died_at_ms: When it was sent here, in milliseconds since the Unix epoch.
    """

    id: str
    queue: str
    body: str
    reason: str | None
    died_at_ms: int


@frozen
class LetterFailure:
    """A dead letter that could not be moved or removed, and why."""

    letter_id: str
    reason: str


@frozen(kw_only=True)
class QueueStatus:
    """How full a queue is. SQS's counts are approximate.

    Args:
        visible: Messages that the next receive can have.
        in_flight: Messages that a worker has, or that are hidden.
        delayed: Messages that are not due yet.
        dead_letters: Its dead letters; None when it has no place for them.
        url: Its URL on SQS.
        dead_letter_url: URL of its dead-letter queue on SQS.
    """

    visible: int
    in_flight: int
    delayed: int
    dead_letters: int | None
    url: str | None = None
    dead_letter_url: str | None = None


class Queue(Protocol):
    """Named queues with at-least-once delivery."""

    async def send(self, messages: Sequence[Outgoing]) -> list[SendFailure]:
        """Send messages; return those that were not sent. Raises nothing for the others' sake."""
        ...

    async def receive(
        self, queue: str, *, limit: int, wait_seconds: float, visibility_seconds: float
    ) -> list[Received]:
        """Receive up to ``limit`` messages, waiting for the first of them.

        A received message is invisible for ``visibility_seconds`` unless it is deleted or hidden.
        The call may be left early only by `interrupt`, not by cancelling it: a cancelled receive
        may have taken messages that nobody then has.
        """
        ...

    def interrupt(self) -> None:
        """Make receives that wait return, now and from now on."""
        ...

    async def delete(self, message: Received) -> None:
        """Remove a message. A message whose receipt handle is outdated stays; that is no error."""
        ...

    async def change_visibility(self, messages: Sequence[Received], seconds: float) -> None:
        """Make messages invisible for ``seconds`` from now; 0 gives them to the next receiver."""
        ...

    async def bury(self, message: Received, reason: str) -> None:
        """Move a message that cannot be understood to the dead letters."""
        ...

    async def status(self, queue: str) -> QueueStatus:
        """Count the messages of a queue and its dead letters.

        Raises:
            QueueError: It cannot be looked at.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of all resources."""
        ...


class HeldLetters(Protocol):
    """Dead letters that somebody decides about, and nobody else meanwhile."""

    @property
    def letters(self) -> Sequence[Letter]:
        """The letters, oldest first."""
        ...

    async def redrive(self, letters: Sequence[Letter]) -> list[LetterFailure]:
        """Send letters back to the queue they came from; return those that failed.

        Each is removed only once the queue has confirmed that it has the message.
        """
        ...

    async def drop(self, letters: Sequence[Letter]) -> list[LetterFailure]:
        """Remove letters for good; return those that failed."""
        ...


class DeadLetters(Protocol):
    """Messages that are kept aside until somebody decides about them."""

    def hold(self, queue: str, *, limit: int) -> AbstractAsyncContextManager[HeldLetters]:
        """Hold up to ``limit`` dead letters of a queue while the body decides about them.

        What is neither redriven nor dropped is where it was when the body is left.

        Raises:
            QueueError: They cannot be read.
        """
        ...
