"""Make the receipts of groups in the transaction that ends them.

So it costs no commit of its own, and whoever sees that a group has ended finds its receipt. Where
plugins compose, that takes a process and time, and the receipt is made after the transaction.
"""

import logging
from collections.abc import Sequence
from itertools import groupby

from prover_framework.database.engine import Statements
from prover_framework.errors import NoExactForm, NotSigned
from prover_framework.model.jobs import JobState
from prover_framework.model.names import group_id_of
from prover_framework.plugins.registry import Plugins
from prover_framework.proofs.group_receipt import Composing, EndedJob
from prover_framework.proofs.store import BoundReceipt, WantedSeals, keep_receipts
from prover_framework.receipts.canonical import digest_of
from prover_framework.receipts.documents import digest, dump_bound
from prover_framework.seals.making import signature_maker
from prover_framework.settings import Settings

log = logging.getLogger(__name__)

# A group that was redriven has a receipt of its first life, which is replaced when it is read.
UNBOUND = """
SELECT group_id, name, state, receipt FROM job
WHERE group_id = ANY(?) AND (SELECT g.receipt FROM job_group g WHERE g.id = job.group_id) IS NULL
ORDER BY group_id, id
"""


class GroupBinding:
    """Binds groups; see `prover_framework.jobs.changes.BindGroups`.

    Args:
        settings: Say how receipts are signed.
        plugins: Compose, or want to make seals later.
    """

    def __init__(self, settings: Settings, plugins: Plugins) -> None:
        self._composing = Composing(settings, plugins, signature_maker(settings))
        self._seal_kinds = tuple(plugins.sealers)

    async def __call__(self, connection: Statements, group_ids: Sequence[str]) -> frozenset[str]:
        """Store the receipts of groups that end by this transaction; return those that have one.

        Raises:
            StoreError: The database refused.
        """
        if self._composing.asks_plugins:
            return frozenset()
        rows = await connection.fetch(UNBOUND, [list(group_ids)])
        made = []
        for group_id, members in groupby(rows, lambda row: str(row["group_id"])):
            jobs = [_ended(row["name"], row["state"], row["receipt"]) for row in members]
            try:
                made.append(self._bound(group_id, jobs))
            except (NotSigned, NoExactForm) as error:
                # The results are stored all the same. Who makes it next says why that fails.
                log.debug("%s: its receipt is not made with its end: %s", group_id, error)
        return await keep_receipts(connection, made) if made else frozenset()

    def _bound(self, group_id: str, jobs: Sequence[EndedJob]) -> BoundReceipt:
        receipt = self._composing.bind(group_id_of(group_id), jobs)
        wanted = None
        if self._seal_kinds:
            wanted = WantedSeals(digest(receipt), self._seal_kinds)
        return BoundReceipt(group_id, dump_bound(receipt), wanted=wanted)


def _ended(name: str, state: str, receipt: str | None) -> EndedJob:
    # What is stored is the canonical form already.
    stands_for = None if receipt is None else digest_of(receipt.encode())
    return EndedJob(name, JobState(state), None, stands_for)
