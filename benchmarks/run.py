"""Measure this checkout beside the baseline, everything in one run: ``make bench``.

Absolute figures depend on the machine and its disk; what is compared stands side by side.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import answers
import commands
import growth
import headers
import heartbeats
import history
import hooks
import jobs
import model
import pages
import peers
import price
import receipts
from attrs import frozen
from checkouts import NoBaseline
from localstack_server import LocalStackMissing
from postgres_server import NoServer
from report import Table, append, heading, show
from rich.console import Console
from stand import Stand

# For a file or a pipe, which has no width of its own.
WIDE = 160


@frozen
class Benchmark:
    """Something that is measured.

    Args:
        says: What it answers, in a line.
        measure: Yields its tables.
        usual: Whether it is one of those that run when none is named.
    """

    says: str
    measure: Callable[[Stand], Iterator[Table]]
    usual: bool = True


BENCHMARKS: Mapping[str, Benchmark] = {
    "real": Benchmark("the three real proofs: rate, CPU time, latency at rest", jobs.real),
    "noop": Benchmark("jobs that compute nothing: rate, CPU time, commits", jobs.noop),
    "peers": Benchmark("the same beside celery, procrastinate and huey", peers.beside),
    "posts": Benchmark("POST of three jobs", answers.accepting),
    "status": Benchmark("GET of a group, idle and while it computes", answers.answering),
    "history": Benchmark("what runs again and again, with a million ended jobs", history.grown),
    "beside": Benchmark("a POST while headers are imported", history.beside_import),
    "import": Benchmark("import of 1.7 million headers", headers.importing),
    "verify": Benchmark("verification of headers", headers.verifying),
    "commands": Benchmark("the start of commands, memory at rest", commands.starting),
    "price": Benchmark("the reserve price beside a plain transcription", price.priced),
    "hooks": Benchmark("what the plugin layer costs", hooks.layer),
    "receipts": Benchmark("verification of receipts", receipts.verifying),
    "pages": Benchmark("pages over a hundred thousand groups", pages.looked_at),
    "heartbeats": Benchmark("heartbeats while all cores compute", heartbeats.late),
    "model": Benchmark("the model of the service, beside what it says", model.modelled),
    "growth": Benchmark("calls at three sizes of a database; minutes", growth.growing, usual=False),
}


def main() -> None:
    """Run the benchmarks that are named, or all, and print their tables."""
    options = _parser().parse_args()
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; see --help")
    wide = None if sys.stdout.isatty() else WIDE
    console = Console(highlight=False, soft_wrap=True, width=wide)
    console.print(heading())
    with ExitStack() as resources:
        folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="prover-bench-"))
        stand = Stand(Path(folder), resources, compare=not options.alone)
        usual = [name for name, one in BENCHMARKS.items() if one.usual]
        names = options.names or usual
        done = [_run(console, stand, name, options.markdown) for name in names]
    sys.exit(0 if all(done) else 1)


def _parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:12}{one.says}" for name, one in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\nBenchmarks:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which ones; all by default")
    parser.add_argument("--alone", action="store_true", help="leave the baseline out")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="add the tables to a file")
    return parser


def _run(console: Console, stand: Stand, name: str, markdown: Path | None) -> bool:
    """Run one and print its tables; return whether there was nothing in its way."""
    began = time.monotonic()
    done = False
    try:
        for table in BENCHMARKS[name].measure(stand):
            show(console, table)
            if markdown:
                append(markdown, _command(name), table)
        done = True
    except (NoBaseline, NoServer, LocalStackMissing, peers.NoPeers) as reason:
        console.print(f"{name} is not measured: {reason}")
    # The others are worth their time all the same.
    except (RuntimeError, TimeoutError, subprocess.SubprocessError):
        console.print_exception()
    console.print(f"{name}: {time.monotonic() - began:.0f} s")
    return done


def _command(name: str) -> str:
    return shlex.join(["make", "bench", f"ONLY={name}"])


if __name__ == "__main__":
    main()
