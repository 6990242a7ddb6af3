"""Requests by the hundred against a running service, made from its OpenAPI document.

``python tests/contract/contract_run.py SCHEMATHESIS [EXAMPLES]`` starts a service in a directory of
its own and has schemathesis call it: what the document allows and what it does not, each answer
compared with what the document says of it. The exit status is that of schemathesis.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from prover_processes import Installation

# What a request has to obey beyond its schema (the start of a range lies before its end, a kind of
# seal is installed) has no words in JSON Schema, so that a request that fits it may be refused.
LEFT_OUT = "positive_data_acceptance"

# Streams of events end when their listener leaves.
STREAMS = "/events$"

EXAMPLES = "15"


def main(schemathesis: str, examples: str = EXAMPLES) -> int:
    """Run it; return the exit status."""
    with TemporaryDirectory(prefix="prover-contract-") as directory:
        place = Installation(Path(directory), {}, {})
        place.command("headers", "simulate", "--days", "2", "--end", "1704067200")
        with place.running("up"):
            command = [
                schemathesis,
                "run",
                f"{place.url('up')}/openapi.json",
                *("--max-examples", examples),
                *("--exclude-path-regex", STREAMS),
                *("--exclude-checks", LEFT_OUT),
                # Ids of jobs are few of all strings.
                *("--suppress-health-check", "filter_too_much"),
                *("--request-timeout", "60"),
                *("--phases", "examples,coverage,fuzzing"),
                *("--seed", "1559"),
                "--no-color",
            ]
            return subprocess.run(command, cwd=directory, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
