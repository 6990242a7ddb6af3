"""The ORM's configuration for writing migrations; see ``make migrations``."""

from pathlib import Path

from prover_framework.store.database import database_config

CONFIG = database_config(Path("development.sqlite3"))
