"""What operators do with job groups, one or many: what is asked for, and what comes of it."""

from enum import StrEnum

from attrs import frozen


class Action(StrEnum):
    """What is done; the values are those in addresses and commands."""

    CANCEL = "cancel"
    """Call off what has not ended."""
    REDRIVE = "redrive"
    """Try again what failed or was called off."""
    DELETE = "delete"
    """Remove groups that have ended, with their results and receipts."""


@frozen
class LeftOut:
    """A job that the action is not for, and why."""

    job_id: str
    reason: str


@frozen(kw_only=True)
class GroupAction:
    """What an action does, or would do, to one group.

    Args:
        job_group_id: The group.
        jobs: The jobs that it is done to.
        left_out: Those that it is not done to.
        unsent: Of the jobs that are tried again, why messages of some are not sent yet. The sweep
            sends them.
    """

    job_group_id: str
    jobs: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    unsent: tuple[str, ...] = ()


@frozen
class Accepted:
    """A group is stored.

    Args:
        group_id: The group.
        unsent: Why messages of some of its jobs are not sent yet. The sweep sends them.
    """

    group_id: str
    unsent: tuple[str, ...] = ()


@frozen(kw_only=True)
class ActionReport:
    """What an action comes to.

    Args:
        action: Which.
        dry_run: Whether nothing was done, and this is what would be.
        groups: The groups, with what is done to each.
        next_cursor: Where a filter leads to more groups than one request acts on, what the next
            one is made with.
    """

    action: Action
    dry_run: bool
    groups: tuple[GroupAction, ...]
    next_cursor: str | None = None


@frozen
class OneGroup:
    """The body of an action on a group.

    Args:
        job_id: The job that it is for; none for all of the group.
        dry_run: Only say what would be done.
        force: Try again also what cannot succeed.
    """

    job_id: str | None = None
    dry_run: bool = False
    force: bool = False


@frozen
class ManyGroups:
    """The body of an action on all that a filter finds; the filters of a list, and these.

    Args:
        state: As in a list.
        proof_type: As in a list.
        since: As in a list.
        until: As in a list.
        text: As in a list.
        code: As in a list.
        limit: As in a list; how many groups one request acts on at the most.
        cursor: As in a list.
        dry_run: Only say what would be done.
        force: Try again also what cannot succeed.
    """

    state: str | None = None
    proof_type: str | None = None
    since: str | None = None
    until: str | None = None
    text: str | None = None
    code: str | None = None
    limit: int | None = None
    cursor: str | None = None
    dry_run: bool = False
    force: bool = False
