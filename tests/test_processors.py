"""Slots follow the time on processors that a container is given."""

from pathlib import Path

import pytest

from prover_framework.processors import quotas, usable_processors


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


V2 = "sys/fs/cgroup"
V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        # A container sees its own group as the root.
        ("0::/\n", {f"{V2}/cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, []),
        # A service of systemd is below its slice, and each has a limit.
        (
            "0::/system.slice/prover.service\n",
            {
                f"{V2}/system.slice/prover.service/cpu.max": "400000 100000\n",
                f"{V2}/system.slice/cpu.max": "200000 100000\n",
            },
            [4.0, 2.0],
        ),
        (
            "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
            {f"{V1}/cpu.cfs_quota_us": "300000\n", f"{V1}/cpu.cfs_period_us": "100000\n"},
            [3.0],
        ),
        (
            "4:cpu,cpuacct:/\n",
            {f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"},
            [],
        ),
        ("0::/\n", {f"{V2}/cpu.max": "rubbish\n"}, []),
        ("rubbish", {}, []),
    ],
)
def test_quotas_of_both_versions_are_read(
    tmp_path: Path, groups: str, files: dict[str, str], expected: list[float]
) -> None:
    assert list(quotas(machine(tmp_path, groups, files))) == expected


def test_a_share_of_a_processor_is_one_slot_and_nothing_is_rounded_up(tmp_path: Path) -> None:
    for quota, expected in (("20000", 1), ("100000", 1), ("199999", 1)):
        root = machine(tmp_path, "0::/\n", {f"{V2}/cpu.max": f"{quota} 100000\n"})
        assert usable_processors(root) == expected


def test_without_groups_the_machine_counts(tmp_path: Path) -> None:
    assert usable_processors(tmp_path) == usable_processors(tmp_path / "nothing") >= 1
