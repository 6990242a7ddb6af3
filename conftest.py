"""Settings of Hypothesis for all tests of the project."""

import os

from hypothesis import settings

# How long an example takes depends on what else the machine does, which is no property of the
# code. In CI the examples are the same in every run: what it finds must not depend on luck.
settings.register_profile("project", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("project")
