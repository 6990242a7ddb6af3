"""The headers of a database, for those who load some: jobs wait for them."""

from prover_framework.chain.rule_book import read_rule_book
from prover_framework.chain.store import HeaderStore
from prover_framework.database.database import Database
from prover_framework.jobs.store import JobStore
from prover_framework.model.jobs import RetryPolicy
from prover_framework.settings import Settings


def header_store(database: Database, settings: Settings | None = None) -> HeaderStore:
    """Return the headers of a database; new ones wake the jobs that wait for them.

    Args:
        database: Where they are.
        settings: They name a file with rules of further chains, if there is one.

    Raises:
        SettingsError: The file cannot be used.
    """
    rules = read_rule_book(None if settings is None else settings.chain_rules)
    return HeaderStore(database, JobStore(database, RetryPolicy()).wake_waiting, rules)
