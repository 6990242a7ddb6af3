"""A real node that makes a chain of its own and needs no network: Hardhat's.

It is installed from the npm registry into a folder of the work tree at the first use.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# The last release that runs on Node.js 20.
VERSION = "2.29.1"
FOLDER = Path(__file__).parents[2] / f".hardhat-{VERSION}"

INSTALL_SECONDS = 300.0
# On a machine that does other work.
START_SECONDS = 60.0

# It ends when its standard input does: with the test run, however that ends.
LAUNCHER = """
process.stdin.resume();
process.stdin.on("end", () => process.exit());
process.argv = [process.argv[0], "hardhat", ...process.argv.slice(2)];
require(HARDHAT + "/internal/cli/cli");
"""

CONFIG = """
module.exports = {
  solidity: "0.8.24",
  networks: {hardhat: {hardfork: HARDFORK, initialDate: DATE,
                       mining: {auto: false, interval: 0}}},
};
"""


class HardhatMissing(Exception):
    """Hardhat cannot be had on this machine; the message says why."""


class HardhatNode:
    """A running node."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, method: str, *parameters: Any) -> Any:
        """Call a method and return its result."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        request = urllib.request.Request(
            self.url, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            answer = json.load(response)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def block(self, name: str) -> dict[str, Any]:
        """Return a block without its transactions."""
        block: dict[str, Any] = self.call("eth_getBlockByNumber", name, False)  # noqa: FBT003
        return block

    def mine(self, blocks: int, seconds: int = 12) -> None:
        """Make empty blocks, so many seconds apart."""
        timestamp = int(self.block("latest")["timestamp"], 16)
        # Many at once by hardhat_mine would be no chain: their parent hashes are zero.
        for place in range(1, blocks + 1):
            self.call("evm_mine", timestamp + place * seconds)

    def hashes(self) -> list[str]:
        """Return the hashes of all blocks."""
        newest = int(self.call("eth_blockNumber"), 16)
        return [self.block(hex(number))["hash"] for number in range(newest + 1)]


@contextmanager
def hardhat_node(hardfork: str, first_timestamp: int) -> Iterator[HardhatNode]:
    """Start a node on a free port of this machine; stop it when the body is left.

    Args:
        hardfork: The rules that its blocks follow, such as ``prague``.
        first_timestamp: Unix seconds of its block 0.

    Raises:
        HardhatMissing: It cannot be installed, or does not start.
    """
    _install()
    with tempfile.TemporaryDirectory(prefix="hardhat-") as directory:
        hardhat = json.dumps(str(FOLDER / "node_modules" / "hardhat"))
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(first_timestamp))
        Path(directory, "launcher.js").write_text(LAUNCHER.replace("HARDHAT", hardhat))
        Path(directory, "hardhat.config.js").write_text(
            CONFIG.replace("HARDFORK", json.dumps(hardfork)).replace("DATE", json.dumps(date))
        )
        # Hardhat wants to be installed where its configuration is.
        Path(directory, "node_modules").symlink_to(FOLDER / "node_modules")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with Path(directory, "log").open("w+b") as log:
            process = subprocess.Popen(
                ["node", "launcher.js", "node", "--hostname", "127.0.0.1", "--port", str(port)],
                cwd=directory,
                env={**os.environ, "HARDHAT_DISABLE_TELEMETRY_PROMPT": "true", "HOME": directory},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                node = HardhatNode(f"http://127.0.0.1:{port}")
                _wait_for(node, process, Path(directory, "log"))
                yield node
            finally:
                process.kill()
                process.communicate()


def _install() -> None:
    if shutil.which("npm") is None:
        raise HardhatMissing("Hardhat cannot be installed: there is no npm on this machine")
    FOLDER.mkdir(exist_ok=True)
    ready = FOLDER / ".ready"
    with (FOLDER / ".lock").open("w") as lock:
        # Two test runs may begin at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready.exists():
            return
        (FOLDER / "package.json").write_text('{"private": true}\n')
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock",
             f"hardhat@{VERSION}"],
            cwd=FOLDER, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise HardhatMissing(f"npm cannot install Hardhat: {done.stderr.strip()[-300:]}")
        ready.touch()


def _wait_for(node: HardhatNode, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            node.call("eth_chainId")
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
        else:
            return
    raise HardhatMissing(f"Hardhat does not start: {log.read_text()[-300:]}")
