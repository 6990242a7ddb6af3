"""A process that verifies pages of stored headers for another one; see `chain.parallel`.

It is told on its standard input what to verify and answers on its standard output. It imports
little, since it is started for some seconds of work, and ends when nobody tells it anything more.
"""

import pickle
import sys
from contextlib import suppress
from io import RawIOBase
from typing import BinaryIO

from prover_framework.chain.verification import ChainSpan
from prover_framework.chain.whole import LENGTH, WHOLE, Task, verify_rows
from prover_framework.database.reading import RowReader, open_reader


def serve(requests: BinaryIO, answers: BinaryIO | RawIOBase) -> None:
    """Verify what is asked for until there is nothing more."""
    task = _receive(requests)
    if not isinstance(task, Task):
        return
    reader: RowReader | None = None
    while isinstance(page := _receive(requests), tuple):
        first, last = page
        answer: ChainSpan | Exception
        try:
            reader = reader or open_reader(task.where)
            rows = reader.read(WHOLE, [first, last])
            answer = verify_rows(rows, first, last, task.rules, task.trusted)
        except Exception as error:
            answer = error
        data = pickle.dumps(answer)
        answers.write(LENGTH.pack(len(data)) + data)
    if reader is not None:
        reader.close()


def _receive(requests: BinaryIO) -> object:
    """Return the next message; None if there is none."""
    head = requests.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    # The process that has started this one writes it.
    return pickle.loads(requests.read(*LENGTH.unpack(head)))  # noqa: S301


if __name__ == "__main__":
    # Whoever was told may be gone by then, and there is nobody else to tell.
    with suppress(BrokenPipeError), open(1, "wb", buffering=0, closefd=False) as answers:
        serve(sys.stdin.buffer, answers)
