"""The ORM's configuration for writing migrations; see ``make migrations``."""

from typing import Any

from prover_framework.database.orm import APPS, NAME

CONFIG: dict[str, Any] = {"connections": {NAME: "sqlite://development.sqlite3"}, "apps": dict(APPS)}
