import os
import re
from importlib import metadata
from pathlib import Path

import pytest

from export.backends import host


def fake(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


@pytest.mark.parametrize(
    ("files", "cpu"),
    [
        (
            {"proc/cpuinfo": "processor\t: 0\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\nmodel name\t: other\n"},
            "AMD EPYC",
        ),
        ({"proc/cpuinfo": "processor\t: 0\n\nModel\t\t: Raspberry Pi 5 Model B\n"}, "Raspberry Pi 5 Model B"),
        ({"proc/device-tree/model": "NVIDIA Jetson Orin Nano\0"}, "NVIDIA Jetson Orin Nano"),
    ],
)
def test_the_processor_or_board_is_named(tmp_path: Path, files: dict[str, str], cpu: str) -> None:
    assert host.identity(fake(tmp_path, files))["cpu"] == cpu


def test_gpus_and_driver_come_from_the_drivers_files(tmp_path: Path) -> None:
    information = "Model: \t\t NVIDIA RTX A4000\nIRQ:   \t\t 42\n"
    root = fake(
        tmp_path,
        {"proc/driver/nvidia/gpus/0000:01:00.0/information": information, "sys/module/nvidia/version": "580.1\n"},
    )
    assert host.gpus(root) == ["NVIDIA RTX A4000"]
    assert host.identity(root)["driver"] == "580.1"


def test_the_system_is_named(tmp_path: Path) -> None:
    root = fake(tmp_path, {"etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\n'})
    assert host.identity(root)["os"] == "Debian GNU/Linux 12"
    assert host.identity(tmp_path / "nothing")["os"]


def test_the_runtimes_that_are_installed_are_told() -> None:
    found = host.runtimes()
    assert found["numpy"] == metadata.version("numpy")
    assert found.keys() <= set(host.RUNTIMES)
    assert all(found.values())


def test_another_version_of_a_runtime_is_noticed_without_asking_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = host.installed()
    for name, version in host.runtimes().items():
        assert any(
            re.fullmatch(f"{name}-{version}.dist-info", found.replace("_", "-"), re.IGNORECASE) for found in before
        )
    monkeypatch.syspath_prepend(tmp_path)
    assert host.installed() == before
    for name in (
        "Pillow-9.0.dist-info",
        "tensorrt-10.3.0.egg-info",
        "onnxruntime_gpu-1.30.dist-info",
        "torch-3.dist-info",
    ):
        (tmp_path / name).mkdir()
    assert set(host.installed()) - set(before) == {
        "Pillow-9.0.dist-info",
        "tensorrt-10.3.0.egg-info",
        "onnxruntime_gpu-1.30.dist-info",
    }


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process")
def test_only_the_cores_this_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert host.allowed() == os.sched_getaffinity(0)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert host.allowed() == set(range(os.cpu_count() or 1))


V2 = "0::/user.slice/tagger\n"
V1 = "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n1:name=systemd:/docker/abc\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (V2, {"user.slice/tagger/cpu.max": "50000 100000"}, 0.5),
        (V2, {"user.slice/tagger/cpu.max": "max 100000", "user.slice/cpu.max": "150000 100000"}, 1.5),
        (V2, {"user.slice/tagger/cpu.max": "300000 100000", "user.slice/cpu.max": "200000 100000"}, 2.0),
        ("0::/\n", {"cpu.max": "25000 50000"}, 0.5),  # a container sees its own group as the root
        (V2, {"user.slice/tagger/cpu.max": "max 100000"}, None),
        (
            V1,
            {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "50000", "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "1e5"},
            None,
        ),
        (
            V1,
            {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "50000", "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        (V1, {"cpu/cpu.cfs_quota_us": "120000", "cpu/cpu.cfs_period_us": "100000"}, 1.2),  # mounted as the root
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("", {"cpu.max": "50000 100000"}, None),
    ],
)
def test_a_quota_of_processor_time_is_seen(
    tmp_path: Path, groups: str, files: dict[str, str], expected: float | None
) -> None:
    for name, content in {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert host.quota(tmp_path) == expected


@pytest.mark.parametrize(("limit", "cores"), [(None, 4), (0.5, 1), (1.0, 1), (2.5, 2), (64.0, 4)])
def test_no_more_threads_than_the_quota_pays_for(
    monkeypatch: pytest.MonkeyPatch, limit: float | None, cores: int
) -> None:
    monkeypatch.setattr(host, "allowed", lambda: {0, 1, 2, 3})
    monkeypatch.setattr(host, "quota", lambda *_: limit)
    assert host.usable_cores() == cores
