"""Runs of the conformance kit on plugins that a test writes."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def install_module(directory: Path, name: str, source: str) -> str:
    """Write a plugin as an installed distribution; return the name of its module."""
    module = f"prover_{name}"
    (directory / f"{module}.py").write_text(source)
    information = directory / f"{module}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\nRequires-Dist: prover-framework\n"
    )
    (information / "entry_points.txt").write_text(f"[prover_framework]\n{name} = {module}")
    return module


def outcomes(directory: Path, *selected: str) -> dict[str, tuple[str, str]]:
    """Run selected tests; return for each its name with file, what came of it and its message.

    Of a test that is run for several samples it is what came of the first that did not pass.
    """
    report = directory / "report.xml"
    subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull),
            *("--rootdir", str(directory), f"--junitxml={report}", *selected),
        ],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=300,
        check=False,
    )
    found: dict[str, tuple[str, str]] = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        problem = next(iter(case), None)
        key = f"{case.attrib['classname'].split('.')[0]}::{case.attrib['name'].split('[')[0]}"
        if found.get(key, ("passed", ""))[0] == "passed":
            found[key] = ("passed", "") if problem is None else (problem.tag, _said(problem))
    return found


def _said(problem: ET.Element) -> str:
    # A skip has its reason in an attribute.
    return problem.text if problem.tag != "skipped" and problem.text else problem.get("message", "")
