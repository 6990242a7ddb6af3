"""A database that has been in service for long: ended jobs and headers by the hundred thousand."""

from prover_framework.chain.ingest import BEGIN_CHAIN, SUM_UP, ChainFacts
from prover_framework.database.database import Database

FACTS = ChainFacts(100, simulated=False, source="test")

# Both long before anything that a test does, and after it in no index.
BEGAN_MS = 1_600_000_000_000
FAR_MS = 2**53
BLOCK_SECONDS = 12

JOBS_A_GROUP = 3

JOBS_A_FILE = 10

TABLES = (
    *("job_group", "job", "event", "delivery", "seal_job", "seal", "attachment"),
    *("attachment_chunk", "block_header", "raw_header", "hourly_base_fee"),
)

UP_TO = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"

# One group in ten is another namespace's.
SPACE = "CASE ({group}) % 10 WHEN 9 THEN 'team' ELSE 'default' END"

GROUP_ID = (
    "CASE ({group}) % 10 WHEN 9 THEN 'team/' ELSE '' END || 'old-' || CAST({group} AS VARCHAR(20))"
)

GROUP = f"((i - 1) / {JOBS_A_GROUP} + 1)"

GROUPS = f"""
INSERT INTO job_group (id, namespace, created_at) {UP_TO}
SELECT {GROUP_ID.format(group="i")}, {SPACE.format(group="i")}, {BEGAN_MS} + i FROM n
"""

# Some three in a hundred jobs have failed, in groups of all namespaces.
HAS_FAILED = "i % 31 = 0"

# They were asked for with one of seven keys.
JOBS = f"""
INSERT INTO job (id, group_id, name, proof_type, parameters, queue, state, sends, attempts,
    failures, losses, not_before, created_at, queued_at, started_at, finished_at, worker, result,
    receipt, error_code, namespace, api_key)
{UP_TO}
SELECT 'old-job-' || CAST(i AS VARCHAR(20)),
    {GROUP_ID.format(group=GROUP)},
    'type' || CAST(i % {JOBS_A_GROUP} AS VARCHAR(20)),
    'type' || CAST(i % {JOBS_A_GROUP} AS VARCHAR(20)), '{{{{}}}}', 'default',
    CASE WHEN {HAS_FAILED} THEN 'failed' ELSE 'succeeded' END, 1, 1, 0, 0,
    {BEGAN_MS}, {BEGAN_MS} + (i - 1) / {JOBS_A_GROUP} + 1, {BEGAN_MS}, {BEGAN_MS}, {BEGAN_MS},
    'worker', '1', '{{{{"receipt": "of a proof"}}}}',
    CASE WHEN {HAS_FAILED} THEN 'gone' END, {SPACE.format(group=GROUP)},
    'key' || CAST({GROUP} % 7 AS VARCHAR(20))
FROM n
"""

# The ends of the groups, which some observer is not told since it is out of order.
EVENTS = f"""
INSERT INTO event (number, kind, group_id, created_at) {UP_TO}
SELECT i, 'group_ended', {GROUP_ID.format(group="i")}, {BEGAN_MS} FROM n
"""

DELIVERIES = f"""
INSERT INTO delivery (number, observer, group_id, created_at, tries, due_at) {UP_TO}
SELECT i, 'out of order', {GROUP_ID.format(group="i")}, {BEGAN_MS}, 1, {FAR_MS} FROM n
"""

# Made long ago, one on each result.
SEALS = f"""
INSERT INTO seal_job (group_id, job_name, kind, receipt_digest, state, attempts, failures,
    worker, document, created_at, started_at, finished_at)
SELECT group_id, name, 'wax', 'digest', 'made', 1, 0, 'worker', '{{}}', {BEGAN_MS}, {BEGAN_MS},
    {BEGAN_MS}
FROM job WHERE state = 'succeeded'
"""

# And one with each receipt of ten.
STORED_SEALS = f"""
INSERT INTO seal (job_id, kind, document) {UP_TO}
SELECT 'old-job-' || CAST(i * 10 AS VARCHAR(20)), 'ink', '{{{{}}}}' FROM n
"""

# One result in ten has a file attached, in four pieces.
ATTACHMENTS = f"""
INSERT INTO attachment (id, job_id, name) {UP_TO}
SELECT 'old-file-' || CAST(i AS VARCHAR(20)), 'old-job-' || CAST(i * 10 AS VARCHAR(20)), 'file'
FROM n
"""

CHUNKS = f"""
INSERT INTO attachment_chunk (attachment_id, number, data) {UP_TO}
SELECT 'old-file-' || CAST((i - 1) / 4 + 1 AS VARCHAR(20)), i % 4, ? FROM n
"""

HEADERS = f"""
INSERT INTO block_header (number, timestamp, base_fee_wei, block_hash, parent_hash, verified)
{UP_TO}
SELECT i, i * {BLOCK_SECONDS}, 1000000000, '0x' || CAST(i AS VARCHAR(20)),
    '0x' || CAST(i - 1 AS VARCHAR(20)), TRUE
FROM n
"""

RAW = f"INSERT INTO raw_header (number, rlp) {UP_TO} SELECT i, ? FROM n"


async def grow(
    database: Database, *, jobs: int = 0, headers: int = 0, analyze: bool = True
) -> None:
    """Fill a database that is empty, and let the engine look at it, unless it has not yet."""
    if jobs:
        await database.write(GROUPS.format(count=-(-jobs // JOBS_A_GROUP)))
        await database.write(JOBS.format(count=jobs))
        for statement in (EVENTS, DELIVERIES):
            await database.write(statement.format(count=-(-jobs // JOBS_A_GROUP)))
        await database.write(SEALS)
    if jobs >= JOBS_A_FILE:
        await database.write(STORED_SEALS.format(count=jobs // JOBS_A_FILE))
        await database.write(ATTACHMENTS.format(count=jobs // JOBS_A_FILE))
        await database.write(CHUNKS.format(count=4 * (jobs // JOBS_A_FILE)), [b"data"])
    if headers:
        facts = [FACTS.chain_id, FACTS.simulated, FACTS.source, ""]
        await database.write(BEGIN_CHAIN, facts)
        await database.write(HEADERS.format(count=headers))
        await database.write(RAW.format(count=headers), [b"rlp"])
        await database.write(SUM_UP, [0, (headers + 1) * BLOCK_SECONDS])
    if analyze:
        await database.analyze(TABLES)
