"""The service as real processes in a directory of a test, with plugins of the test's own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from waiting import PATIENCE_SECONDS, wait_until

COMMAND = [sys.executable, "-c", "from prover_framework.cli import main; main()"]


class Installation:
    """A place where the ``prover`` command runs.

    Args:
        directory: Working directory, with the data and the logs.
        plugins: Source texts of plugins that are installed there, by the names of their modules.
        settings: Variables of its environment; those of this machine's are not passed on.
    """

    def __init__(
        self, directory: Path, plugins: Mapping[str, str], settings: Mapping[str, str]
    ) -> None:
        self.directory = directory
        modules = directory / "modules"
        modules.mkdir()
        for module, text in plugins.items():
            _install(modules, module, text)
        foreign = ("PROVER_", "AWS_", "DATABASE_URL", "SQS_QUEUE_URL")
        self.environment = {
            **{name: text for name, text in os.environ.items() if not name.startswith(foreign)},
            "PYTHONPATH": str(modules),
            "PROVER_DATA_DIR": str(directory),
            "PROVER_PORT": "0",
            **settings,
        }

    def command(self, *arguments: str, status: int = 0) -> str:
        """Run a command, which ends with a status, and return what it prints."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            cwd=self.directory,
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command in the background; at the end it is killed if it still runs."""
        with self.log(*arguments).open("ab") as log:
            process = subprocess.Popen(
                [*COMMAND, *arguments], env=self.environment, cwd=self.directory, stderr=log
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self, *arguments: str) -> Path:
        """Return where a command in the background logs to."""
        return self.directory / f"{'_'.join(arguments)}.log"

    def url(self, *arguments: str) -> str:
        """Wait until a command in the background serves the API, and return where."""

        def found() -> str:
            _, mark, rest = self.log(*arguments).read_text().partition("listening on ")
            return rest.split()[0] if mark and "\n" in rest else ""

        wait_until(lambda: bool(found()))
        return found()


def _install(modules: Path, module: str, text: str) -> None:
    information = modules / f"{module}-1.0.dist-info"
    information.mkdir()
    (modules / f"{module}.py").write_text(text)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[prover_framework]\n{module} = {module}\n")
