"""A process that verifies pages of stored headers for another one; see `chain.parallel`.

It is told on its standard input what to verify and answers on its standard output. It imports
little, since it is started for some seconds of work, and ends when nobody tells it anything more.
"""

import pickle
import sys
from typing import BinaryIO

from prover_framework.chain.verification import ChainSpan
from prover_framework.chain.whole import LENGTH, WHOLE, Task, verify_rows
from prover_framework.database.reading import RowReader, open_reader


def serve(asked: BinaryIO, answers: BinaryIO) -> None:
    """Verify what is asked for until there is nothing more."""
    task = _receive(asked)
    if not isinstance(task, Task):
        return
    reader: RowReader | None = None
    while isinstance(page := _receive(asked), tuple):
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
        answers.flush()
    if reader is not None:
        reader.close()


def _receive(asked: BinaryIO) -> object:
    """Return the next message; None if there is none."""
    head = asked.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    # The process that has started this one writes it.
    return pickle.loads(asked.read(*LENGTH.unpack(head)))  # noqa: S301


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
