"""What is said to the database about jobs.

The language is that of `prover_framework.database.engine`. Which states a change may start from is
what the table of transitions says.
"""

from collections.abc import Set as AbstractSet

from prover_framework.model.jobs import CANCELLABLE, REDRIVABLE, SWEPT, TAKEABLE, JobState


def one_of(states: AbstractSet[JobState]) -> str:
    """Return a condition for the column ``state``, with the states in the order of their type."""
    return f"state IN ({', '.join(repr(state.value) for state in JobState if state in states)})"


# How long a stored job may be without a message before a sweep sends one: longer than a send
# takes, so that the sweep does not repeat one that is under way.
UNSENT_MS = 10_000

# How long a sent message may go unanswered before a sweep sends another. A queue with a backlog
# is slow without having lost anything, so the time doubles with each send, up to a limit.
UNANSWERED_MS = 300_000
MAX_UNANSWERED_DOUBLINGS = 6

# The fields of `prover_framework.jobs.records.StoredJob`.
FIELDS = (
    *("id", "group_id", "name", "parameters", "queue", "state"),
    *("sends", "attempts", "failures", "losses", "not_before", "data_deadline"),
    *("lease_until", "worker", "error_code", "error_message", "result", "receipt"),
    *("created_at", "queued_at", "started_at", "finished_at", "dependents"),
    *("progress_millionths", "progress_text", "progress_at", "method_version", "api_key"),
    *("request_id", "priority", "trace_parent", "lane"),
)

# A row has them in this order, and the token of the lease after them.
COLUMNS = f"{', '.join(FIELDS)}, lease_token"

# Rows that several transactions may want are locked in the order of their ids, so that no two
# wait for each other.
LOCK_JOBS = "SELECT id, state FROM job WHERE id = ANY(?) ORDER BY id FOR UPDATE"
LOCK_GROUP = "SELECT id, name, state FROM job WHERE group_id = ? ORDER BY id FOR UPDATE"

# What begins a statement that changes some jobs: lock them, and only then ask for the time. An
# update that waits for a lock does not look at the clock again when it has it, unless the row was
# changed meanwhile; the lease that it was to be written under may have expired.
LOCKED = """
WITH locked AS (SELECT id FROM job WHERE id = ANY(?) ORDER BY id FOR UPDATE),
    moment AS (SELECT NOW_MS AS now FROM (SELECT COUNT(*) AS count FROM locked) AS locks)
"""
NOW = "(SELECT now FROM moment)"

# The same where the jobs may be the last of their groups, which are locked, too: of two jobs that
# end at once the second then sees that the first has ended. Groups are locked after jobs, and after
# them no more jobs.
LOCKED_WITH_GROUPS = """
WITH locked AS (SELECT id, group_id FROM job WHERE id = ANY(?) ORDER BY id FOR UPDATE),
    groups AS (
        SELECT id FROM job_group WHERE id IN (SELECT group_id FROM locked)
        ORDER BY id FOR NO KEY UPDATE
    ),
    moment AS (
        SELECT NOW_MS AS now FROM (SELECT COUNT(*) AS count FROM locked) AS locks,
            (SELECT COUNT(*) AS count FROM groups) AS more_locks
    )
"""

JOBS_BY_ID = f"SELECT {COLUMNS} FROM job WHERE id = ANY(?)"
JOBS_OF_GROUPS = f"SELECT {COLUMNS} FROM job WHERE group_id = ANY(?) ORDER BY id"

# How many groups of an API key have jobs that have not ended, up to a limit. The index has no
# others.
OPEN_GROUPS_OF_KEY = f"""
SELECT COUNT(*) AS count FROM (
    SELECT DISTINCT group_id FROM job
    WHERE api_key = ? AND api_key IS NOT NULL AND {one_of(CANCELLABLE)} LIMIT ?
) AS open_groups
"""

# How many groups of each API key have jobs that have not ended. The same index has no others.
OPEN_GROUPS_OF_KEYS = f"""
SELECT api_key, COUNT(DISTINCT group_id) AS count FROM job
WHERE api_key IS NOT NULL AND {one_of(CANCELLABLE)} GROUP BY api_key
"""

# How many jobs have not ended, up to a limit.
COUNT_OPEN = f"""
SELECT COUNT(*) AS count FROM (
    SELECT id FROM job WHERE {one_of(CANCELLABLE)} LIMIT ?
) AS open_jobs
"""
# How the jobs of some groups stand, for those who listen.
STATES_OF_GROUPS = """
SELECT group_id, name, state, attempts, progress_millionths FROM job
WHERE group_id = ANY(?) ORDER BY id
"""

NEWEST_GROUP = "SELECT id FROM job_group ORDER BY created_at DESC, id DESC LIMIT 1"

# The index of states leads to jobs that have not ended past all those that have.
OPEN_JOBS = f"""
SELECT name, state, error_code, COUNT(*) AS count, MIN(created_at) AS oldest, SUM(losses) AS losses
FROM job WHERE {one_of(CANCELLABLE)} GROUP BY name, state, error_code
"""

# Returned are those that no other submission, before or at the same time, has stored.
INSERT_GROUPS = """
INSERT INTO job_group (id, namespace, created_at)
SELECT fresh.group_id, fresh.space, NOW_MS FROM ROWS(?) AS fresh(group_id TEXT, space TEXT)
WHERE TRUE
ON CONFLICT (id) DO NOTHING RETURNING id, created_at
"""

INSERT_JOB = """
INSERT INTO job (id, group_id, name, proof_type, parameters, queue, state, not_before, due_at,
                 created_at, queued_at, dependents, method_version, namespace, api_key, request_id,
                 priority, lane, trace_parent, sends, attempts, failures, losses)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0)
"""

# Which jobs rest on which others of their group.
INSERT_DEPENDENCY = "INSERT INTO dependency (job_id, rests_on) VALUES (?, ?)"

# Nothing is returned when the group has a job of this name.
ENQUEUE = f"{INSERT_JOB} ON CONFLICT (group_id, name) DO NOTHING RETURNING {COLUMNS}"

JOB_OF_NAME = f"SELECT {COLUMNS} FROM job WHERE group_id = ? AND name = ?"

# A worker may have been faster: then the job is past pending and stays so. A message that a sweep
# has sent again is given its time to be answered.
MARK_SENT = f"""{LOCKED}
UPDATE job SET
    state = 'queued',
    queued_at = CASE state WHEN 'pending' THEN {NOW} ELSE queued_at END,
    sends = CASE state WHEN 'pending' THEN sends + 1 ELSE sends END,
    due_at = CASE WHEN not_before > {NOW} THEN not_before ELSE {NOW} END
        + CASE WHEN state = 'pending' THEN {UNANSWERED_MS}
               WHEN sends > {MAX_UNANSWERED_DOUBLINGS}
               THEN {UNANSWERED_MS << MAX_UNANSWERED_DOUBLINGS}
               ELSE {UNANSWERED_MS} << (sends - 1) END
WHERE id IN (SELECT id FROM locked)
    AND (state = 'pending' OR state = 'queued' AND sends > 1 AND due_at > {NOW})
"""

TAKE = f"""{LOCKED}
UPDATE job SET
    state = 'running', attempts = attempts + 1, worker = holder, started_at = {NOW},
    lease_token = token, lease_until = {NOW} + lease_ms,
    due_at = NULL, error_code = NULL, error_message = NULL,
    progress_millionths = NULL, progress_text = NULL, progress_at = NULL
FROM ROWS(?) AS wish(job_id TEXT, token TEXT, holder TEXT, lease_ms BIGINT)
WHERE id IN (SELECT id FROM locked) AND id = job_id
    AND {one_of(TAKEABLE)} AND not_before <= {NOW}
"""

# Where the table is the queue: the lanes that have jobs of some proof types which may begin. From
# each lane the index leads to the next one of its proof type, past all jobs that are in it.
_FIRST_LANE = f"""
SELECT lane FROM job WHERE queue = ? AND proof_type = kind.name AND {one_of(TAKEABLE)}
ORDER BY lane LIMIT 1
"""
_NEXT_LANE = f"""
SELECT lane FROM job
WHERE queue = ? AND proof_type = found.kind AND lane > found.place AND {one_of(TAKEABLE)}
ORDER BY lane LIMIT 1
"""
READY_LANES = f"""
WITH RECURSIVE found(kind, place) AS (
    SELECT kind.name, ({_FIRST_LANE}) FROM ROWS(?) AS kind(name TEXT)
    UNION ALL
    SELECT found.kind, ({_NEXT_LANE}) FROM found WHERE found.place IS NOT NULL
)
SELECT found.kind, found.place FROM found
WHERE found.place IS NOT NULL AND (
    SELECT not_before FROM job
    WHERE queue = ? AND proof_type = found.kind AND lane = found.place AND {one_of(TAKEABLE)}
    ORDER BY not_before LIMIT 1
) <= (SELECT NOW_MS)
"""

# Jobs of one proof type in one lane that may begin, oldest first, as the index has them. Two
# workers each take what the other has not locked.
_READY = f"""
SELECT id, not_before, CAST(? AS INT) AS place FROM (
    SELECT id, not_before FROM job
    WHERE queue = ? AND proof_type = ? AND lane = ? AND {one_of(TAKEABLE)}
        AND not_before <= (SELECT NOW_MS)
    ORDER BY not_before, id LIMIT ? FOR UPDATE SKIP LOCKED
) AS ready
"""


def choose_ready(ranges: int) -> str:
    """Return the query for the ids of ready jobs of so many lanes and proof types, in turn.

    It takes place, queue, proof type, lane and limit for each of them, and the limit for all.
    """
    ready = " UNION ALL ".join([_READY] * ranges)
    return f"""
    SELECT id FROM (
        SELECT id, place, ROW_NUMBER() OVER (PARTITION BY place ORDER BY not_before, id) AS turn
        FROM ({ready}) AS of_all
    ) AS in_turn ORDER BY turn, place LIMIT ?
    """


# A token is that of the take and the job's own.
_TAKE_CHOSEN = f"""
UPDATE job SET
    state = 'running', attempts = attempts + 1, worker = ?, started_at = NOW_MS,
    lease_token = ? || SUBSTR(id, 17), lease_until = NOW_MS + ?,
    due_at = NULL, error_code = NULL, error_message = NULL,
    progress_millionths = NULL, progress_text = NULL, progress_at = NULL
WHERE id IN (SELECT id FROM chosen) AND {one_of(TAKEABLE)}
RETURNING {COLUMNS}
"""


def take_ready(ranges: int) -> str:
    """Return the statement that takes what `choose_ready` chooses."""
    return f"WITH chosen AS ({choose_ready(ranges)}) {_TAKE_CHOSEN}"


TAKE_THESE = f"""
WITH chosen AS (SELECT id FROM job WHERE id = ANY(?)) {_TAKE_CHOSEN}
"""

# How full the table is as a queue: an index of what is ready or delayed, and one of the leases.
COUNT_TAKEABLE = f"""
SELECT COUNT(CASE WHEN not_before <= NOW_MS THEN 1 END) AS visible,
    COUNT(CASE WHEN not_before > NOW_MS THEN 1 END) AS later
FROM job WHERE queue = ? AND {one_of(TAKEABLE)}
"""
# More are not counted: the order has an index used that has no other rows.
COUNT_RUNNING = """
SELECT COUNT(*) AS in_flight FROM (
    SELECT queue FROM job WHERE lease_until > 0 ORDER BY lease_until LIMIT 1000
) AS running WHERE queue = ?
"""

EXTEND = f"""{LOCKED}
UPDATE job SET lease_until = {NOW} + ?
FROM ROWS(?) AS held(job_id TEXT, token TEXT)
WHERE id IN (SELECT id FROM locked) AND id = job_id
    AND state = 'running' AND lease_token = token AND lease_until > {NOW}
RETURNING id, lease_token
"""

NOTE_PROGRESS = f"""{LOCKED}
UPDATE job SET progress_millionths = done, progress_text = doing, progress_at = {NOW}
FROM ROWS(?) AS told(job_id TEXT, token TEXT, done BIGINT, doing TEXT)
WHERE id IN (SELECT id FROM locked) AND id = job_id
    AND state = 'running' AND lease_token = token AND lease_until > {NOW}
RETURNING id
"""

_SUCCEED = f"""
UPDATE job SET
    state = 'succeeded', result = outcome, receipt = evidence, finished_at = {NOW},
    lease_token = NULL, lease_until = NULL
FROM ROWS(?) AS success(job_id TEXT, token TEXT, outcome TEXT, evidence TEXT)
WHERE id IN (SELECT id FROM locked) AND id = job_id
    AND state = 'running' AND lease_token = token AND lease_until > {NOW}
RETURNING id, group_id
"""
SUCCEED = f"{LOCKED}{_SUCCEED}"
# Where no jobs rest on these, so that no more of them will have to be locked.
SUCCEED_AS_LAST = f"{LOCKED_WITH_GROUPS}{_SUCCEED}"

INSERT_SEALS = """
INSERT INTO seal (job_id, kind, document)
SELECT made.job_id, made.kind, made.document
FROM ROWS(?) AS made(job_id TEXT, kind TEXT, document TEXT)
"""

# Drafts of attachments are those of results that are stored in the same transaction.
PUBLISH = "UPDATE attachment SET draft_of = NULL WHERE id = ANY(?) RETURNING id"

HELD = "state = 'running' AND lease_token = ?"

LOCK_HELD = f"SELECT {COLUMNS} FROM job WHERE id = ? AND {HELD} FOR UPDATE"

FAIL = f"""{LOCKED}
UPDATE job SET
    state = 'failed', error_code = ?, error_message = ?, finished_at = {NOW},
    lease_token = NULL, lease_until = NULL
WHERE id IN (SELECT id FROM locked) AND {HELD} AND lease_until > {NOW}
RETURNING id, group_id
"""

# Not begun again before some time, if there is one; with what was missing, if that is why.
RELEASE = f"""{LOCKED}
UPDATE job SET
    state = 'queued', attempts = attempts - 1, due_at = {NOW} + {UNANSWERED_MS},
    not_before = CASE WHEN pause > 0 THEN {NOW} + pause ELSE not_before END,
    error_code = code, error_message = message, lease_token = NULL, lease_until = NULL
FROM ROWS(?) AS wanted(pause BIGINT, code TEXT, message TEXT)
WHERE id IN (SELECT id FROM locked) AND {HELD} AND lease_until > {NOW}
"""

PUT = """
UPDATE job SET
    state = ?, attempts = ?, failures = ?, error_code = ?, error_message = ?, data_deadline = ?,
    not_before = ?, due_at = ?, finished_at = ?, lease_token = NULL, lease_until = NULL
WHERE id = ?
"""

# Two sweepers each take what the other has not locked.
EXPIRED = """
SELECT id FROM job WHERE state = 'running' AND lease_until <= (SELECT NOW_MS)
ORDER BY lease_until LIMIT ? FOR UPDATE SKIP LOCKED
"""

COUNT_LOSSES = """
UPDATE job SET
    losses = losses + 1, lease_token = NULL, lease_until = NULL,
    state = CASE WHEN losses + 1 < ? THEN 'queued' ELSE 'failed' END,
    not_before = CASE WHEN losses + 1 < ? THEN NOW_MS ELSE not_before END,
    due_at = CASE WHEN losses + 1 < ? THEN NOW_MS END,
    finished_at = CASE WHEN losses + 1 < ? THEN NULL ELSE NOW_MS END,
    error_code = CASE WHEN losses + 1 < ? THEN error_code ELSE 'worker_lost' END,
    error_message = CASE WHEN losses + 1 < ? THEN error_message ELSE
        'its worker was lost ' || (losses + 1) || ' times, the limit; the last was ' || worker END
WHERE id = ANY(?)
RETURNING group_id, state
"""

DUE = f"""
SELECT id, state, proof_type FROM job
WHERE {one_of(SWEPT)} AND due_at <= (SELECT NOW_MS)
ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED
"""

# A job that nobody may begin yet is due for a sweep as soon as somebody may.
LEAVE_TO_SWEEP = f"""
UPDATE job SET due_at = not_before
WHERE id = ? AND {one_of(TAKEABLE)} AND not_before > NOW_MS AND due_at > not_before
RETURNING id
"""

# How long a job that nobody was able to do is without a message: from 4 s on, twice as long with
# each message that was sent for it, and a minute at the most.
INCAPABLE_MS = 4_000
MAX_INCAPABLE_MS = 60_000
MAX_INCAPABLE_DOUBLINGS = 4

# A worker may be faster that lacks nothing: then the job is not queued any more.
LEAVE_TO_OTHERS = f"""
UPDATE job SET error_code = ?, error_message = ?, due_at = NOW_MS + CAST(? *
    CASE WHEN sends > {MAX_INCAPABLE_DOUBLINGS} THEN {MAX_INCAPABLE_MS}
         WHEN sends < 1 THEN {INCAPABLE_MS} ELSE {INCAPABLE_MS} << (sends - 1) END AS BIGINT)
WHERE id = ANY(?) AND {one_of(TAKEABLE)} AND not_before <= NOW_MS
RETURNING id
"""

# A worker has started: what it can do need not wait for the sweep.
WAKE_LEFT = f"""
UPDATE job SET due_at = NOW_MS, not_before = NOW_MS
WHERE {one_of(TAKEABLE)} AND due_at > NOW_MS AND error_code = ? AND proof_type = ANY(?)
RETURNING id
"""

SWEEP = """
UPDATE job SET
    queued_at = CASE state WHEN 'waiting' THEN NOW_MS ELSE queued_at END,
    state = CASE state WHEN 'waiting' THEN 'queued' ELSE state END,
    due_at = NOW_MS + ?, sends = sends + 1
WHERE id = ANY(?)
"""

# Where the table is the queue: what waited is ready.
MAKE_READY = f"""
UPDATE job SET state = 'queued', queued_at = NOW_MS, due_at = NOW_MS + {UNSENT_MS}
WHERE id = ANY(?) AND state = 'waiting'
RETURNING id
"""

# What workers are at now; more of them need not be known.
RUNNING_TYPES = "SELECT proof_type FROM job WHERE lease_until > 0 ORDER BY lease_until LIMIT 1000"

# Jobs that nobody has begun for a while say what this worker lacks for them.
NOTE_LEFT = f"""
UPDATE job SET due_at = NOW_MS + {MAX_INCAPABLE_MS}, error_code = ?, error_message = ?
WHERE id = ANY(?) AND {one_of(TAKEABLE)}
RETURNING id
"""
LOOK_LATER = f"""
UPDATE job SET due_at = NOW_MS + {UNANSWERED_MS}
WHERE id = ANY(?) AND {one_of(TAKEABLE)} AND due_at <= NOW_MS
RETURNING id
"""

# What waits is due at some time, and only what is due is in that index.
WAKE = """
WITH locked AS (
    SELECT id FROM job WHERE state = 'waiting' AND due_at >= 0
        AND (error_code IS NULL OR error_code <> 'try_later')
    ORDER BY id FOR UPDATE
)
UPDATE job SET not_before = NOW_MS, due_at = NOW_MS
WHERE id IN (SELECT id FROM locked) AND state = 'waiting'
RETURNING id
"""

CANCEL = f"""
UPDATE job SET
    state = 'cancelled', finished_at = NOW_MS, error_code = NULL, error_message = NULL,
    due_at = NULL, lease_token = NULL, lease_until = NULL
WHERE group_id = ? AND name = ANY(?) AND {one_of(CANCELLABLE)}
RETURNING id, group_id, state
"""

# What is sent after this is a new intent: a queue that drops copies must not take it for the
# message before, whether or not the sending of that was noted.
REDRIVE = f"""
UPDATE job SET
    state = ?, sends = sends + 1, failures = 0, losses = 0,
    queued_at = CASE WHEN ? THEN NOW_MS END,
    not_before = NOW_MS, due_at = NOW_MS,
    data_deadline = NULL, error_code = NULL, error_message = NULL, finished_at = NULL
WHERE group_id = ? AND name = ANY(?) AND {one_of(REDRIVABLE)}
RETURNING id, group_id, state
"""

# The jobs that some jobs rest on; those that these rest on in turn are asked for in the same way.
RESTED_ON = "SELECT job_id, rests_on FROM dependency WHERE job_id = ANY(?)"

# The jobs that wait for some others, which have ended.
WAITING_DEPENDENTS = """
SELECT id, state FROM job
WHERE state = 'waiting' AND id IN (SELECT job_id FROM dependency WHERE rests_on = ANY(?))
ORDER BY id FOR UPDATE
"""

# What a job rests on, locked: whoever ends one of these waits until it is known that the job waits.
LOCK_DEPENDENCIES = """
SELECT id, state FROM job WHERE id IN (SELECT rests_on FROM dependency WHERE job_id = ?)
ORDER BY id FOR UPDATE
"""

# A job whose dependencies all have results is due at once.
WAKE_DEPENDENTS = """
UPDATE job SET not_before = NOW_MS, due_at = NOW_MS
WHERE id = ANY(?) AND state = 'waiting' AND NOT EXISTS (
    SELECT 1 FROM dependency JOIN job AS other ON other.id = dependency.rests_on
    WHERE dependency.job_id = job.id AND other.state <> 'succeeded'
)
"""

# One that rests on a job without a result fails with the reason of that.
FAIL_DEPENDENTS = """
UPDATE job SET
    state = 'failed', finished_at = NOW_MS, due_at = NULL, error_code = 'dependency_failed',
    error_message = (
        SELECT 'it rests on ' || other.name || ', which is ' || other.state
            || COALESCE(': ' || other.error_message, '')
        FROM dependency JOIN job AS other ON other.id = dependency.rests_on
        WHERE dependency.job_id = job.id AND other.state IN ('failed', 'cancelled')
        ORDER BY other.id LIMIT 1
    )
WHERE id = ANY(?) AND state = 'waiting' AND EXISTS (
    SELECT 1 FROM dependency JOIN job AS other ON other.id = dependency.rests_on
    WHERE dependency.job_id = job.id AND other.state IN ('failed', 'cancelled')
)
RETURNING id, group_id
"""

# Of some jobs those that have not ended; what is not stored has.
GOING_ON = f"SELECT id FROM job WHERE id = ANY(?) AND {one_of(CANCELLABLE)}"

LOCK_GROUPS = "SELECT id FROM job_group WHERE id = ANY(?) ORDER BY id FOR NO KEY UPDATE"

# Said when jobs of these groups have ended in this transaction and the groups are locked. Whoever
# else has ended one of theirs has committed, or will say the same after this.
NOTE_ENDS = f"""
INSERT INTO event (kind, group_id, created_at)
SELECT 'group_ended', id, NOW_MS FROM job_group
WHERE id = ANY(?) AND NOT EXISTS (
    SELECT 1 FROM job WHERE job.group_id = job_group.id AND {one_of(CANCELLABLE)}
)
ORDER BY id
RETURNING group_id
"""
