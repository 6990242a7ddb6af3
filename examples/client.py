"""Submit a job group over HTTP and wait for its results, with the standard library alone.

Usage: python examples/client.py http://127.0.0.1:3000 END_TIMESTAMP

Asks for what an option round needs that settles at END_TIMESTAMP: the TWAP of the last 30 days,
and reserve price and max return of the last 90.
"""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

DAY_SECONDS = 86_400
FINAL = ("succeeded", "failed", "cancelled")


def round_request(group_id: str, end_timestamp: int) -> dict[str, Any]:
    """Return the body that asks for the three numbers of a round."""
    month = {"start_timestamp": end_timestamp - 30 * DAY_SECONDS, "end_timestamp": end_timestamp}
    quarter = {"start_timestamp": end_timestamp - 90 * DAY_SECONDS, "end_timestamp": end_timestamp}
    return {
        "job_group_id": group_id,
        "twap": month,
        "reserve_price": quarter,
        "max_return": quarter,
    }


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Call the API; an error of the service is raised with the service's own words."""
    request = urllib.request.Request(
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise RuntimeError(json.load(error)["message"]) from None


def submit(base_url: str, body: dict[str, Any]) -> str:
    """Submit a group; return its id. Submitting the same body again is harmless."""
    group_id: str = call(f"{base_url}/api/job", body)["job_group_id"]
    return group_id


def wait(
    base_url: str,
    group_id: str,
    *,
    seconds: float = 600,
    on_change: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Poll a group until all its jobs have ended; return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        group = call(f"{base_url}/api/job/{group_id}")
        if on_change:
            on_change(group)
        if group["status"] in FINAL:
            return group
        time.sleep(0.1)
    raise TimeoutError(f"group {group_id} has not ended after {seconds:g} s")


def main() -> int:
    """Submit one group and print the number of each job."""
    base_url, end_timestamp = sys.argv[1], int(sys.argv[2])
    group_id = submit(base_url, round_request(f"round-{end_timestamp}", end_timestamp))
    group = wait(base_url, group_id)
    for job in group["jobs"]:
        name = job["job_id"]
        print(name, job["result"][name] if job["result"] else job["error"]["message"])
    return 0 if group["status"] == "succeeded" else 1


if __name__ == "__main__":
    sys.exit(main())
