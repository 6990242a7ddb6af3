"""What is said to the database about jobs; see `prover_framework.store.engine` for its language."""

# How long a stored job may be without a message before a sweep sends one: longer than a send
# takes, so that the sweep does not repeat one that is under way.
UNSENT_MS = 10_000

# How long a sent message may go unanswered before a sweep sends another. A queue with a backlog
# is slow without having lost anything, so the time doubles with each send, up to a limit.
UNANSWERED_MS = 300_000
MAX_UNANSWERED_DOUBLINGS = 6

# The fields of `prover_framework.store.jobs.StoredJob`.
FIELDS = (
    *("id", "group_id", "proof_type", "parameters", "queue", "state"),
    *("sends", "attempts", "failures", "losses", "not_before", "data_deadline"),
    *("lease_until", "worker", "error_code", "error_message", "result", "receipt"),
    *("created_at", "queued_at", "started_at", "finished_at"),
)

# A row has them in this order, and the token of the lease after them.
COLUMNS = f"{', '.join(FIELDS)}, lease_token"

# Rows that several transactions may want are locked in the order of their ids, so that no two
# wait for each other.
LOCK_JOBS = "SELECT id, state FROM job WHERE id = ANY(?) ORDER BY id FOR UPDATE"
LOCK_GROUP = "SELECT id, state FROM job WHERE group_id = ? ORDER BY id FOR UPDATE"

# What begins a statement that changes some jobs: lock them, and only then ask for the time. An
# update that waits for a lock does not look at the clock again when it has it, unless the row was
# changed meanwhile; the lease that it was to be written under may have expired.
LOCKED = """
WITH locked AS (SELECT id FROM job WHERE id = ANY(?) ORDER BY id FOR UPDATE),
    moment AS (SELECT NOW_MS AS now FROM (SELECT COUNT(*) AS count FROM locked) AS locks)
"""
NOW = "(SELECT now FROM moment)"

JOBS_BY_ID = f"SELECT {COLUMNS} FROM job WHERE id = ANY(?)"
JOBS_OF_GROUPS = f"SELECT {COLUMNS} FROM job WHERE group_id = ANY(?) ORDER BY id"

NEWEST_GROUPS = "SELECT id FROM job_group ORDER BY created_at DESC, id DESC LIMIT ?"
NEWEST_GROUPS_WITH = """
SELECT id FROM job_group
WHERE EXISTS (SELECT 1 FROM job WHERE job.group_id = job_group.id AND job.state = ?)
ORDER BY created_at DESC, id DESC LIMIT ?
"""

# Returned are those that no other submission, before or at the same time, has stored.
INSERT_GROUPS = """
INSERT INTO job_group (id, submission, created_at)
SELECT fresh.group_id, ?, NOW_MS FROM ROWS(?) AS fresh(group_id TEXT) WHERE TRUE
ON CONFLICT (id) DO NOTHING RETURNING id, created_at
"""

INSERT_JOB = """
INSERT INTO job (id, group_id, proof_type, parameters, queue, state, not_before, due_at,
                 created_at, sends, attempts, failures, losses)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0)
"""

# Nothing is returned when the group has a job of this proof type.
ADOPT = f"{INSERT_JOB} ON CONFLICT (group_id, proof_type) DO NOTHING RETURNING {COLUMNS}"

JOB_OF_TYPE = f"SELECT {COLUMNS} FROM job WHERE group_id = ? AND proof_type = ?"

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
    due_at = NULL, error_code = NULL, error_message = NULL
FROM ROWS(?) AS wish(job_id TEXT, token TEXT, holder TEXT, lease_ms BIGINT)
WHERE id IN (SELECT id FROM locked) AND id = job_id
    AND state IN ('pending', 'queued') AND not_before <= {NOW}
"""

EXTEND = f"""{LOCKED}
UPDATE job SET lease_until = {NOW} + ?
FROM ROWS(?) AS held(job_id TEXT, token TEXT)
WHERE id IN (SELECT id FROM locked) AND id = job_id
    AND state = 'running' AND lease_token = token AND lease_until > {NOW}
RETURNING lease_token
"""

SUCCEED = f"""{LOCKED}
UPDATE job SET
    state = 'succeeded', result = outcome, receipt = evidence, finished_at = {NOW},
    lease_token = NULL, lease_until = NULL
FROM ROWS(?) AS success(job_id TEXT, token TEXT, outcome TEXT, evidence TEXT)
WHERE id IN (SELECT id FROM locked) AND id = job_id
    AND state = 'running' AND lease_token = token AND lease_until > {NOW}
"""

INSERT_SEALS = """
INSERT INTO seal (job_id, kind, document, created_at)
SELECT made.job_id, made.kind, made.document, NOW_MS
FROM ROWS(?) AS made(job_id TEXT, kind TEXT, document TEXT)
"""

HELD = "state = 'running' AND lease_token = ?"

LOCK_HELD = f"SELECT {COLUMNS} FROM job WHERE id = ? AND {HELD} FOR UPDATE"

FAIL = f"""{LOCKED}
UPDATE job SET
    state = 'failed', error_code = ?, error_message = ?, finished_at = {NOW},
    lease_token = NULL, lease_until = NULL
WHERE id IN (SELECT id FROM locked) AND {HELD} AND lease_until > {NOW}
"""

GIVE_BACK = f"""{LOCKED}
UPDATE job SET
    state = 'queued', attempts = attempts - 1, due_at = {NOW} + {UNANSWERED_MS},
    lease_token = NULL, lease_until = NULL
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
"""

DUE = """
SELECT id, state FROM job
WHERE state IN ('pending', 'queued', 'waiting') AND due_at <= (SELECT NOW_MS)
ORDER BY due_at LIMIT ? FOR UPDATE SKIP LOCKED
"""

# A job that nobody may begin yet is due for a sweep as soon as somebody may.
LEAVE_TO_SWEEP = """
UPDATE job SET due_at = not_before
WHERE id = ? AND state IN ('pending', 'queued') AND not_before > NOW_MS AND due_at > not_before
RETURNING id
"""

SWEEP = """
UPDATE job SET
    queued_at = CASE state WHEN 'waiting' THEN NOW_MS ELSE queued_at END,
    state = CASE state WHEN 'waiting' THEN 'queued' ELSE state END,
    due_at = NOW_MS + ?, sends = sends + 1
WHERE id = ANY(?)
"""

# What waits is due at some time, and only what is due is in that index.
WAKE = """
WITH locked AS (
    SELECT id FROM job WHERE state = 'waiting' AND due_at >= 0 ORDER BY id FOR UPDATE
)
UPDATE job SET not_before = NOW_MS, due_at = NOW_MS
WHERE id IN (SELECT id FROM locked) AND state = 'waiting'
RETURNING id
"""

CANCEL = """
UPDATE job SET
    state = 'cancelled', finished_at = NOW_MS, error_code = NULL, error_message = NULL,
    due_at = NULL, lease_token = NULL, lease_until = NULL
WHERE group_id = ? AND state IN ('pending', 'queued', 'running', 'waiting')
"""

REDRIVE = """
UPDATE job SET
    state = 'pending', failures = 0, losses = 0, not_before = NOW_MS, due_at = NOW_MS,
    data_deadline = NULL, error_code = NULL, error_message = NULL, finished_at = NULL
WHERE group_id = ? AND state IN ('failed', 'cancelled')
"""
