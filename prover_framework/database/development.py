"""The ORM's configuration for writing migrations; see ``make migrations``."""

from typing import Any

from prover_framework.database.orm import APPS
from prover_framework.database.orm import CONFIG as CONSTANT

# The tool wants dictionaries.
CONFIG: dict[str, Any] = {**CONSTANT, "apps": dict(APPS)}
