"""The tables. All times are milliseconds since the Unix epoch by the database's clock.

The classes' docstrings become comments in the schema, where a semicolon would end the statement.
"""

from tortoise import fields
from tortoise.indexes import Index
from tortoise.models import Model

from prover_framework.database.schema_parts import (
    FirstPresentIndex,
    OpenJobsIndex,
    PresentIndex,
    TakeableIndex,
    UnrevokedIndex,
)
from prover_framework.model.names import (
    DEFAULT_NAMESPACE,
    MAX_GROUP_KEY,
    MAX_NAMESPACE,
    MAX_TRACE_PARENT,
)
from prover_framework.model.priorities import USUAL_PRIORITY, lane_of


class JobGroup(Model):
    """Jobs that were asked for together."""

    # Its key, with the namespace where that is not the default one: ids are unique in each.
    id = fields.CharField(MAX_GROUP_KEY, primary_key=True)
    namespace = fields.CharField(MAX_NAMESPACE, db_default=DEFAULT_NAMESPACE)
    created_at = fields.BigIntField()
    # The composed receipt, once all jobs have ended.
    receipt = fields.TextField(null=True)

    class Meta:
        table = "job_group"
        indexes = (
            Index(fields=("created_at", "id"), name="job_group_created"),
            Index(fields=("namespace", "created_at", "id"), name="job_group_namespace"),
        )


class Job(Model):
    """One proof of a group, with its state, its lease and its result."""

    id = fields.CharField(32, primary_key=True)
    group: fields.ForeignKeyRelation[JobGroup] = fields.ForeignKeyField(
        "prover.JobGroup", related_name="jobs", on_delete=fields.OnDelete.RESTRICT
    )
    group_id: str
    # Its id in the group: the proof type's name, and behind an @ its label if it has one.
    name = fields.CharField(63)
    proof_type = fields.CharField(63, db_default="")
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
    # Version of the method under which it was accepted.
    method_version = fields.TextField(null=True)
    # How many jobs of the group rest on its result.
    dependents = fields.IntField(db_default=0)
    # What the computation that is under way said last of its progress, and when.
    progress_millionths = fields.IntField(null=True)
    progress_text = fields.TextField(null=True)
    progress_at = fields.BigIntField(null=True)
    # That of its group, and the id of the API key that it was asked for with.
    namespace = fields.CharField(MAX_NAMESPACE, db_default=DEFAULT_NAMESPACE)
    api_key = fields.CharField(16, null=True)
    # Of the request that it was asked for by, for the log.
    request_id = fields.CharField(64, null=True)
    # Of its group. Its lane is made of it and of the key: what is in one lane is taken in turn.
    priority = fields.IntField(db_default=USUAL_PRIORITY)
    lane = fields.CharField(18, db_default=lane_of(USUAL_PRIORITY, None))
    # The span of a trace that it was asked for in.
    trace_parent = fields.CharField(MAX_TRACE_PARENT, null=True)

    class Meta:
        table = "job"
        unique_together = (("group", "name"),)
        indexes = (
            # Jobs that have ended are in neither, so that both stay as small as what is going on.
            PresentIndex(fields=("due_at",), name="job_due"),
            PresentIndex(fields=("lease_until",), name="job_lease"),
            # What may begin, now or later: the table as a queue.
            TakeableIndex(
                fields=("queue", "proof_type", "lane", "not_before", "id"), name="job_ready_lane"
            ),
            # The newest jobs in a state, in the order in which groups are listed; then what lists
            # are filtered by, so that thousands are looked through without a look at the rows.
            Index(fields=("state", "created_at", "group_id", "name"), name="job_listed"),
            Index(
                fields=("namespace", "state", "created_at", "group_id", "name"),
                name="job_namespace_listed",
            ),
            OpenJobsIndex(fields=("api_key", "group_id"), name="job_open_of_key"),
            # The same for those with an error.
            FirstPresentIndex(
                fields=("error_code", "created_at", "group_id", "name", "state", "namespace"),
                name="job_error_listed",
            ),
        )


class Dependency(Model):
    """A job that rests on the result of another one of its group."""

    id = fields.IntField(primary_key=True)
    job_id = fields.CharField(32, db_index=True)
    rests_on = fields.CharField(32, db_index=True)

    class Meta:
        table = "dependency"


class Seal(Model):
    """A seal on the receipt of a job. A receipt can gain one long after it was made."""

    id = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "prover.Job", related_name="seals", on_delete=fields.OnDelete.CASCADE
    )
    job_id: str
    kind = fields.CharField(63)
    document = fields.TextField()

    class Meta:
        table = "seal"
        unique_together = (("job", "kind"),)


class SealJob(Model):
    """A seal that is made after its receipt, and how far that is."""

    id = fields.BigIntField(primary_key=True)
    group: fields.ForeignKeyRelation[JobGroup] = fields.ForeignKeyField(
        "prover.JobGroup", related_name="seal_jobs", on_delete=fields.OnDelete.CASCADE
    )
    group_id: str
    # Id in the group of the job whose receipt it is on. Empty for the receipt of the group.
    job_name = fields.CharField(63)
    kind = fields.CharField(63)
    # What the seal stands for, in hex.
    receipt_digest = fields.CharField(64)
    state = fields.CharField(16)
    # How often it was begun, and how often that came to an error.
    attempts = fields.IntField()
    failures = fields.IntField()
    # From when on a worker may take it: while one makes it, when its lease ends.
    due_at = fields.BigIntField(null=True)
    lease_token = fields.CharField(32, null=True)
    worker = fields.CharField(80, null=True)
    error_code = fields.CharField(63, null=True)
    error_message = fields.TextField(null=True)
    document = fields.TextField(null=True)
    created_at = fields.BigIntField()
    started_at = fields.BigIntField(null=True)
    finished_at = fields.BigIntField(null=True)

    class Meta:
        table = "seal_job"
        unique_together = (("group", "job_name", "kind"),)
        indexes = (
            # Those that have ended are not in it.
            PresentIndex(fields=("state", "kind", "due_at"), name="seal_job_due"),
        )


class Attempt(Model):
    """An attempt at a job that came to nothing."""

    id = fields.BigIntField(primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "prover.Job", related_name="failed_attempts", on_delete=fields.OnDelete.CASCADE
    )
    job_id: str
    number = fields.IntField()
    worker = fields.CharField(80)
    started_at = fields.BigIntField()
    ended_at = fields.BigIntField()
    error_code = fields.CharField(63)
    error_message = fields.TextField()
    # Where in the plugin's own files it was raised, a line for each call.
    traceback = fields.TextField()

    class Meta:
        table = "attempt"
        indexes = (Index(fields=("job_id",), name="attempt_job"),)


class Event(Model):
    """Something that others want to know of, stored with what made it so. It holds ids only."""

    id = fields.BigIntField(primary_key=True)
    # Its place among all events, given after the commit: whoever has read up to a number has
    # missed nothing below it.
    number = fields.BigIntField(null=True)
    kind = fields.CharField(32)
    group_id = fields.CharField(MAX_GROUP_KEY)
    job_id = fields.CharField(32, null=True)
    seal_kind = fields.CharField(63, null=True)
    created_at = fields.BigIntField()

    class Meta:
        table = "event"
        # Those without a number stand together in it, in the order of their ids.
        indexes = (Index(fields=("number", "id"), name="event_number"),)


class Observer(Model):
    """A plugin that is told of the ends of groups, on whatever workers it is."""

    name = fields.CharField(128, primary_key=True)
    # When a worker that has it said so last.
    seen_at = fields.BigIntField()

    class Meta:
        table = "observer"


class Delivery(Model):
    """An event that an observer has still to be told. The row goes when that is done."""

    id = fields.BigIntField(primary_key=True)
    number = fields.BigIntField()
    observer = fields.CharField(128)
    group_id = fields.CharField(MAX_GROUP_KEY)
    created_at = fields.BigIntField()
    tries = fields.IntField()
    # No worker may try before this. Whoever tries holds it until then by the token.
    due_at = fields.BigIntField()
    lease_token = fields.CharField(32, null=True)

    class Meta:
        table = "delivery"
        unique_together = (("observer", "number"),)
        indexes = (Index(fields=("observer", "due_at", "id"), name="delivery_due"),)


class Attachment(Model):
    """A file that is attached to the result of a job, or a draft of one until that is stored."""

    id = fields.CharField(32, primary_key=True)
    job: fields.ForeignKeyRelation[Job] = fields.ForeignKeyField(
        "prover.Job", related_name="attachments", on_delete=fields.OnDelete.CASCADE
    )
    job_id: str
    name = fields.CharField(64)
    # Token of the lease under which it is being stored. The transaction that stores the result
    # clears it, and nobody reads an attachment before that.
    draft_of = fields.CharField(32, null=True)

    class Meta:
        table = "attachment"
        indexes = (
            Index(fields=("job_id", "name"), name="attachment_job"),
            PresentIndex(fields=("draft_of",), name="attachment_draft"),
        )


class AttachmentChunk(Model):
    """A part of an attachment."""

    id = fields.BigIntField(primary_key=True)
    attachment: fields.ForeignKeyRelation[Attachment] = fields.ForeignKeyField(
        "prover.Attachment", related_name="chunks", on_delete=fields.OnDelete.CASCADE
    )
    attachment_id: str
    number = fields.IntField()
    data = fields.BinaryField()

    class Meta:
        table = "attachment_chunk"
        unique_together = (("attachment", "number"),)


class WorkerRow(Model):
    """A worker that is running, by its own word. The row goes when it stops, or later."""

    id = fields.CharField(80, primary_key=True)
    queue = fields.CharField(80)
    version = fields.CharField(80)
    # Names of the plugins that it has, with commas.
    plugins = fields.TextField()
    slots = fields.IntField()
    in_flight = fields.IntField()
    state = fields.CharField(16)
    started_at = fields.BigIntField()
    seen_at = fields.BigIntField()
    # An operator wants it to finish what it has and to end.
    is_draining = fields.BooleanField()

    class Meta:
        table = "worker"


class PausedQueue(Model):
    """A queue of which no worker takes jobs for now."""

    name = fields.CharField(80, primary_key=True)
    reason = fields.TextField()
    paused_at = fields.BigIntField()

    class Meta:
        table = "paused_queue"


class ApiKey(Model):
    """A key of the API. What is stored of the secret is its digest."""

    id = fields.CharField(16, primary_key=True)
    # SHA-256 of the whole key, in hex.
    digest = fields.CharField(64)
    name = fields.CharField(80)
    namespace = fields.CharField(MAX_NAMESPACE)
    # Names with commas.
    scopes = fields.CharField(80)
    requests_per_minute = fields.IntField()
    verifications_per_minute = fields.IntField()
    open_groups = fields.IntField()
    # The highest that its groups may have.
    max_priority = fields.IntField(db_default=USUAL_PRIORITY)
    created_at = fields.BigIntField()
    expires_at = fields.BigIntField(null=True)
    revoked_at = fields.BigIntField(null=True)
    last_used_at = fields.BigIntField(null=True)

    class Meta:
        table = "api_key"
        indexes = (UnrevokedIndex(fields=("id",), name="api_key_unrevoked"),)


class Chain(Model):
    """The one chain that this database holds."""

    # The only row has the number 1, so that two writers cannot make two.
    id = fields.IntField(primary_key=True)
    chain_id = fields.BigIntField()
    simulated = fields.BooleanField()
    # What the headers were last taken from, for people.
    source = fields.TextField()
    # Another text after each change of the headers: what was read before may be old.
    data_version = fields.CharField(16, default="", db_default="")

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


OF_CHAIN: tuple[type[Model], ...] = (Chain, BlockHeader, RawHeader, HourlyBaseFee)
"""What there is of the chain, each after what it is made from."""
