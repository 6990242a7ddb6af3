"""What is said to the database about seals that are made after their receipts.

The language is that of `prover_framework.database.engine`. A worker takes a seal with a token, and
whoever has the token stores what came of it; the end of a lease only lets others take it.
"""

# The fields of `prover_framework.jobs.seals.StoredSealJob`.
SEAL_FIELDS = (
    *("id", "group_id", "job_name", "kind", "receipt_digest", "state", "attempts", "failures"),
    *("due_at", "worker", "error_code", "error_message", "created_at", "started_at", "finished_at"),
)

SEAL_COLUMNS = ", ".join(SEAL_FIELDS)

_INTO = """
INSERT INTO seal_job (group_id, job_name, kind, receipt_digest, state, attempts, failures, due_at,
    created_at)
"""

# In the transaction that stores the results of jobs. A job has one receipt for ever.
QUEUE_FOR_JOBS = f"""{_INTO}
SELECT job.group_id, job.name, fresh.kind, fresh.digest, 'queued', 0, 0, NOW_MS,
    NOW_MS
FROM ROWS(?) AS fresh(job_id TEXT, kind TEXT, digest TEXT) JOIN job ON job.id = fresh.job_id
WHERE TRUE ON CONFLICT (group_id, job_name, kind) DO NOTHING
"""

_ANEW = """
    state = 'queued', attempts = 0, failures = 0, due_at = NOW_MS, lease_token = NULL,
    worker = NULL, error_code = NULL, error_message = NULL, document = NULL,
    started_at = NULL, finished_at = NULL
"""

_FRESH = f"""{_INTO}
SELECT fresh.group_id, fresh.job_name, fresh.kind, fresh.digest, 'queued', 0, 0, NOW_MS,
    NOW_MS
FROM ROWS(?) AS fresh(group_id TEXT, job_name TEXT, kind TEXT, digest TEXT)
WHERE TRUE ON CONFLICT (group_id, job_name, kind)
DO UPDATE SET receipt_digest = excluded.receipt_digest, {_ANEW}
WHERE seal_job.receipt_digest <> excluded.receipt_digest
"""

# The receipt of a group is another one after its jobs were redriven.
QUEUE_FOR_GROUPS = _FRESH

# Somebody asks for them: what came to nothing is begun anew, what is made or under way is left.
ASK_FOR = f"{_FRESH} OR seal_job.state IN ('failed', 'not_applicable') RETURNING id"

# Seals on a receipt of a group that has another one now, whatever their kind.
RENEW = f"""
UPDATE seal_job SET receipt_digest = renewed.digest, {_ANEW}
FROM ROWS(?) AS renewed(group_id TEXT, digest TEXT)
WHERE seal_job.group_id = renewed.group_id AND seal_job.group_id = ANY(?)
    AND job_name = '' AND receipt_digest <> renewed.digest
"""

SEALS_OF_GROUPS = f"""
SELECT {SEAL_COLUMNS} FROM seal_job WHERE group_id = ANY(?) ORDER BY group_id, id
"""

MADE_OF_GROUP = """
SELECT job_name, kind, receipt_digest, document FROM seal_job
WHERE group_id = ? AND state = 'made' ORDER BY id
"""

# The one that is due for longest: one that waits before one whose worker may be lost.
DUE_SEAL = f"""
SELECT * FROM (
    SELECT {SEAL_COLUMNS} FROM seal_job
    WHERE state = 'queued' AND kind = ? AND due_at <= (SELECT NOW_MS) ORDER BY due_at LIMIT 1
) AS waiting
UNION ALL
SELECT * FROM (
    SELECT {SEAL_COLUMNS} FROM seal_job
    WHERE state = 'making' AND kind = ? AND due_at <= (SELECT NOW_MS) ORDER BY due_at LIMIT 1
) AS left_behind
"""

# Of several workers that have found one, the first gets it.
TAKE_SEAL = f"""
UPDATE seal_job SET
    state = 'making', attempts = attempts + 1, worker = ?, lease_token = ?, started_at = NOW_MS,
    due_at = NOW_MS + ?, error_code = NULL, error_message = NULL
WHERE id = ? AND state IN ('queued', 'making') AND due_at <= NOW_MS
RETURNING {SEAL_COLUMNS}
"""

# One that its workers do not survive ends, too.
LOSE_SEAL = """
UPDATE seal_job SET
    state = 'failed', lease_token = NULL, due_at = NULL, finished_at = NOW_MS,
    error_code = ?, error_message = ?
WHERE id = ? AND state = 'making' AND due_at <= NOW_MS
RETURNING id
"""

_HELD = "id = ? AND state = 'making' AND lease_token = ?"

EXTEND_SEAL = f"UPDATE seal_job SET due_at = NOW_MS + ? WHERE {_HELD} RETURNING id"

# The seals of one receipt, locked: of two that are made at once, the second sees the first.
LOCK_SEALS = """
SELECT id, kind, state, lease_token, document FROM seal_job
WHERE group_id = ? AND job_name = ? ORDER BY id FOR UPDATE
"""

MAKE_SEAL = f"""
UPDATE seal_job SET
    state = 'made', document = ?, lease_token = NULL, due_at = NULL, finished_at = NOW_MS
WHERE {_HELD} RETURNING id
"""

END_SEAL = f"""
UPDATE seal_job SET
    state = ?, error_code = ?, error_message = ?, failures = failures + ?,
    lease_token = NULL, due_at = NULL, finished_at = NOW_MS
WHERE {_HELD} RETURNING id
"""

RETRY_SEAL = f"""
UPDATE seal_job SET
    state = 'queued', error_code = ?, error_message = ?, failures = failures + 1,
    lease_token = NULL, due_at = NOW_MS + ?
WHERE {_HELD} RETURNING id
"""

RELEASE_SEAL = f"""
UPDATE seal_job SET
    state = 'queued', error_code = ?, error_message = ?, attempts = attempts - 1,
    lease_token = NULL, due_at = NOW_MS + ?
WHERE {_HELD} RETURNING id
"""

# Those that have not ended.
OPEN_SEALS = """
SELECT kind, state, COUNT(*) AS count, MIN(created_at) AS oldest FROM seal_job
WHERE state IN ('queued', 'making') AND due_at >= 0 GROUP BY kind, state
"""
