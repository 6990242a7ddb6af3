"""Names, ids and limits that several rooms share."""

import re

# Timestamps and block numbers live in signed 64-bit columns on every database we use.
MAX_INT64 = 2**63 - 1


DEFAULT_QUEUE = "default"


# They go into columns, messages, commands and file names.
PROOF_TYPE_NAME = r"[a-z][a-z0-9_]{0,62}"


# A job's id in its group: its proof type, and a label where a group has several of one type.
JOB_ID = r"(?=.{1,63}$)[a-z][a-z0-9_]*(?:@[a-z0-9_]{1,32})?"

LABEL = r"[a-z0-9_]{1,32}"


KIND_NAME = r"[a-z][a-z0-9_-]{0,62}"


# What a machine has, and a computation needs some of.
RESOURCE_NAME = r"[a-z][a-z0-9_]{0,31}"


# What a computation calls one of its inputs.
INPUT_NAME = r"[a-z][a-z0-9_]{0,62}"


# What SQS takes for a name, and the column that holds it.
QUEUE_NAME = r"[A-Za-z0-9_-]{1,80}"


# What stands in messages and tables beside a name is one short line.
MAX_TITLE_LENGTH = 100


GROUP_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


GROUP_ID_RULE = "1 to 128 letters, digits, '.', '_', ':' or '-'"


GROUP_ID_KEY = "job_group_id"
