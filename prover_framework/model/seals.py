"""Seals that are made after their receipt: their states."""

from enum import StrEnum


class SealState(StrEnum):
    """State of a seal; the values are those in the database, the API and metrics."""

    QUEUED = "queued"
    MAKING = "making"
    MADE = "made"
    FAILED = "failed"
    NOT_APPLICABLE = "not_applicable"


OPEN_SEALS = frozenset({SealState.QUEUED, SealState.MAKING})
"""The states of seals that somebody has yet to make."""

# What stands for the receipt of the group where the id of a job may stand.
OF_GROUP = ""
