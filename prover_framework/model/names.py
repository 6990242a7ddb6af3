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


# Group ids are unique in a namespace. What has no other is in the default one.
DEFAULT_NAMESPACE = "default"

MAX_NAMESPACE = 32

NAMESPACE = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")

NAMESPACE_RULE = "1 to 32 lower-case letters, digits or '-', the first not '-'"

# What W3C's header ``traceparent`` has of a span: two digits of a version, 32 of a trace, 16 of a
# span, two of flags, and what is between them.
MAX_TRACE_PARENT = 55

# No group id has one, so that a key is of one namespace and one id only.
_SEPARATOR = "/"

# A namespace, the separator and an id, with room to spare.
MAX_GROUP_KEY = 192


def group_key(namespace: str, group_id: str) -> str:
    """Return what a group is stored under: its id, with its namespace if that is not the default.

    Raises:
        ValueError: The id or the namespace cannot be one.
    """
    if not GROUP_ID.fullmatch(group_id):
        raise ValueError(f"a group id must be {GROUP_ID_RULE}")
    if not NAMESPACE.fullmatch(namespace):
        raise ValueError(f"a namespace must be {NAMESPACE_RULE}")
    if namespace == DEFAULT_NAMESPACE:
        return group_id
    return f"{namespace}{_SEPARATOR}{group_id}"


def is_group_key(text: str) -> bool:
    """Tell whether a group can be stored under this."""
    return bool(GROUP_ID.fullmatch(group_id_of(text)) and NAMESPACE.fullmatch(namespace_of(text)))


def namespace_of(key: str) -> str:
    """Return the namespace of a stored group."""
    namespace, separator, _ = key.rpartition(_SEPARATOR)
    return namespace if separator else DEFAULT_NAMESPACE


def group_id_of(key: str) -> str:
    """Return what the sender of a stored group has called it."""
    return key.rpartition(_SEPARATOR)[2]
