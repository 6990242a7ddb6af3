"""Who calls the API: what he may do, how much of it, and whose groups he sees."""

from enum import StrEnum

from attrs import frozen

from prover_framework.model.names import DEFAULT_NAMESPACE
from prover_framework.model.priorities import HIGHEST_PRIORITY


class Scope(StrEnum):
    """What a key of the API may be used for."""

    SUBMIT = "submit"
    """Submit job groups, call them off, ask for seals."""
    READ = "read"
    """Read groups, results, receipts and lists."""
    VERIFY = "verify"
    """Have receipts verified."""
    OPERATE = "operate"
    """What operators do, in all namespaces."""


ALL_SCOPES = frozenset(Scope)


@frozen(kw_only=True)
class Caller:
    """Somebody who may call the API.

    Args:
        namespace: Where his group ids are.
        scopes: What he may do.
        key_id: Id of his API key; None where he needs none.
        open_groups: How many groups of this key may have jobs that have not ended; None: any.
        max_priority: The highest priority that he may give a group.
    """

    namespace: str = DEFAULT_NAMESPACE
    scopes: frozenset[Scope] = ALL_SCOPES
    key_id: str | None = None
    open_groups: int | None = None
    max_priority: int = HIGHEST_PRIORITY

    @property
    def sees_all(self) -> bool:
        """Whether he sees the groups of all namespaces."""
        return Scope.OPERATE in self.scopes


OPERATOR = Caller()
"""Whoever uses the database itself: the command line, and the API where it has no keys."""
