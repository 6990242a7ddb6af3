"""How many files and sockets this process may have open, and how many of them may be clients'."""

import resource

from prover_framework.settings import Settings

# Systems allow 1,024 by default and up to a billion when asked. More than this is of no use, and
# some programs that a plugin starts walk through all that they are allowed.
MAX_DESCRIPTORS = 65_536

# Kept for what is not a client: connections and files of database, queue, and of the nodes and
# indexers that headers come from; files of plugins as they are loaded.
RESERVED = 128

# Sockets and pipes of a slot, with a process that is being replaced.
RESERVED_PER_SLOT = 8

# Fewer than these would serve nobody; so many are left even where the reserve has to give way.
MIN_CONNECTIONS = 16


def raise_descriptor_limit() -> int:
    """Raise the soft limit as far as it may be and is of use; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        # Some systems name a hard limit that they do not grant.
        return soft
    return wanted


def connections_within(settings: Settings, descriptors: int) -> int:
    """Return how many connections the API may have open.

    Args:
        settings: They name how many it should have.
        descriptors: How many the process may have open.
    """
    others = RESERVED + RESERVED_PER_SLOT * settings.worker_slots
    return min(settings.max_connections, max(MIN_CONNECTIONS, descriptors - others))
