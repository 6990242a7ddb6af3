"""The ORM's configuration for writing migrations; see ``make migrations``."""

from prover_framework.database.database import open_engine

CONFIG = open_engine("sqlite:///development.sqlite3").config()
