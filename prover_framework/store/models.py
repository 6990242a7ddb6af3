"""The tables. All times are milliseconds since the Unix epoch by the database's clock.

The classes' docstrings become comments in the schema, where a semicolon would end the statement.
"""

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model


class JobGroup(Model):
    """Jobs that were asked for together."""

    id = fields.CharField(128, primary_key=True)
    # Marks the submission that made the row, so that of two at the same time one knows it did.
    submission = fields.CharField(32)
    created_at = fields.BigIntField()
    # The composed receipt, once all jobs have ended.
    receipt = fields.TextField(null=True)

    class Meta:
        table = "job_group"
        indexes = (Index(fields=("created_at", "id"), name="job_group_created"),)


class Job(Model):
    """One proof of a group, with its state, its lease and its result."""

    id = fields.CharField(32, primary_key=True)
    group: fields.ForeignKeyRelation[JobGroup] = fields.ForeignKeyField(
        "prover.JobGroup", related_name="jobs", on_delete=fields.OnDelete.RESTRICT
    )
    group_id: str
    proof_type = fields.CharField(63)
    parameters = fields.TextField()
    queue = fields.CharField(80)
    state = fields.CharField(16)
    # How often a message was sent, a computation begun, a computation failed, a worker lost.
    sends = fields.IntField(default=0)
    attempts = fields.IntField(default=0)
    failures = fields.IntField(default=0)
    losses = fields.IntField(default=0)
    # No worker may begin before this.
    not_before = fields.BigIntField()
    # When a sweep has to look: the message is overdue or the wait for data is over.
    due_at = fields.BigIntField(null=True)
    # When waiting for data ends in failure; set by the first wait.
    data_deadline = fields.BigIntField(null=True)
    lease_token = fields.CharField(32, null=True)
    lease_until = fields.BigIntField(null=True)
    worker = fields.CharField(80, null=True)
    error_code = fields.CharField(63, null=True)
    error_message = fields.TextField(null=True)
    result = fields.TextField(null=True)
    # Statement and provenance, stored with the result; its seals are rows of their own.
    receipt = fields.TextField(null=True)
    created_at = fields.BigIntField()
    queued_at = fields.BigIntField(null=True)
    started_at = fields.BigIntField(null=True)
    finished_at = fields.BigIntField(null=True)

    class Meta:
        table = "job"
        unique_together = (("group", "proof_type"),)
        indexes = (
            Index(fields=("due_at",), name="job_due"),
            Index(fields=("lease_until",), name="job_lease"),
        )


class Seal(Model):
    """A seal on the receipt of a job. A receipt can gain one long after it was made."""

    id = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "prover.Job", related_name="seals", on_delete=fields.OnDelete.CASCADE
    )
    job_id: str
    kind = fields.CharField(63)
    document = fields.TextField()
    created_at = fields.BigIntField()

    class Meta:
        table = "seal"
        unique_together = (("job", "kind"),)


class QueueMessage(Model):
    """A message of the embedded queue."""

    id = fields.BigIntField(primary_key=True)
    queue = fields.CharField(80)
    body = fields.TextField()
    visible_at = fields.BigIntField()
    receive_count = fields.IntField(default=0)
    # Proof of the last receive; deleting or hiding the message takes it.
    receipt = fields.CharField(32, null=True)

    class Meta:
        table = "queue_message"
        indexes = (Index(fields=("queue", "visible_at"), name="queue_message_visible"),)


class DeadLetter(Model):
    """A message of the embedded queue that could not be understood."""

    id = fields.BigIntField(primary_key=True)
    queue = fields.CharField(80)
    body = fields.TextField()
    reason = fields.TextField()
    died_at = fields.BigIntField()

    class Meta:
        table = "dead_letter"


class Chain(Model):
    """The one chain that this database holds."""

    # The only row has the number 1, so that two writers can not make two.
    id = fields.IntField(primary_key=True)
    chain_id = fields.BigIntField()
    simulated = fields.BooleanField()
    # What the headers were last taken from, for people.
    source = fields.TextField()

    class Meta:
        table = "chain"


class BlockHeader(Model):
    """A block header, as far as the base fee needs it."""

    number = fields.BigIntField(primary_key=True)
    timestamp = fields.BigIntField(db_index=True)
    base_fee_wei = fields.BigIntField()
    gas_used = fields.BigIntField(null=True)
    gas_limit = fields.BigIntField(null=True)
    block_hash = fields.CharField(66, null=True)
    parent_hash = fields.CharField(66, null=True)
    # Whether its hash is that of its own fields, its parent hash that of the stored block before
    # it, and its base fee what follows from that block.
    verified = fields.BooleanField(db_default=False)

    class Meta:
        table = "block_header"


class RawHeader(Model):
    """The whole header of a block, as the bytes that its hash is made of."""

    number = fields.BigIntField(primary_key=True)
    rlp = fields.BinaryField()

    class Meta:
        table = "raw_header"


class HourlyBaseFee(Model):
    """What the headers of one hour add up to, kept current as headers come in."""

    hour = fields.BigIntField(primary_key=True)
    sum_wei = fields.BigIntField()
    count = fields.IntField()
    # How many of its blocks are verified.
    verified_count = fields.IntField(db_default=0)
    first_block = fields.BigIntField()
    last_block = fields.BigIntField()

    class Meta:
        table = "hourly_base_fee"
