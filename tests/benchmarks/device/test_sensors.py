import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device.nvml import Nvml
from benchmarks.device.output import Clock, Energy, SensorChanges, Temperature
from benchmarks.device.sensors import Sensors, SensorState, clock_mhz, rapl, temperature_c

RAPL = "sys/class/powercap/intel-rapl:{}/{}"


def fake(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def packages(root: Path, *energies: int, most: int = 262_143_328_850) -> Path:
    for number, energy in enumerate(energies):
        zone = {"name": f"package-{number}\n", "energy_uj": f"{energy}\n", "max_energy_range_uj": f"{most}\n"}
        fake(root, {RAPL.format(number, name): content for name, content in zone.items()})
    return root


def test_energy_is_that_of_all_packages_and_of_nothing_in_them(tmp_path: Path) -> None:
    packages(tmp_path, 1_000_000, 5_000_000)
    inside = {"name": "core\n", "energy_uj": "9\n", "max_energy_range_uj": "99\n"}
    fake(tmp_path, {RAPL.format("0:0", name): content for name, content in inside.items()})
    fake(tmp_path, {RAPL.format("2", name): content for name, content in (inside | {"name": "psys\n"}).items()})
    sensors = Sensors(root=tmp_path, nvml=None)
    before = sensors.energy()
    packages(tmp_path, 1_600_000, 5_400_000)
    fake(tmp_path, {RAPL.format(zone, "energy_uj"): "77\n" for zone in ("0:0", "2")})
    assert sensors.used(before, queries=100) == Energy(mj_per_query=pytest.approx(10.0), meter="RAPL package")


def test_a_counter_that_started_again_goes_on(tmp_path: Path) -> None:
    sensors = Sensors(root=packages(tmp_path, 900_000, most=1_000_000), nvml=None)
    before = sensors.energy()
    packages(tmp_path, 300_000, most=1_000_000)
    used = sensors.used(before, queries=1)
    assert used is not None
    assert used.mj_per_query == pytest.approx(400)


def test_no_meter_means_none(tmp_path: Path) -> None:
    sensors = Sensors(root=tmp_path, nvml=None)
    assert sensors.used(sensors.energy(), queries=1) is None
    assert sensors.state() == SensorState(None, None)
    assert sensors.gpu_memory_mb() is None


@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
def test_a_meter_that_only_root_may_read_means_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages(tmp_path, 1_000_000)
    read = Path.read_text

    def guarded(file: Path, **options: Any) -> str:
        if file.name == "energy_uj":  # the test may run as root
            raise PermissionError(13, "Permission denied")
        return read(file, **options)

    monkeypatch.setattr(Path, "read_text", guarded)
    assert rapl(tmp_path) == {}


def test_the_clock_is_that_of_the_core(tmp_path: Path) -> None:
    cpuinfo = "processor\t: 0\ncpu MHz\t\t: 2596.134\n\nprocessor\t: 1\ncpu MHz\t\t: 3100.5\n"
    fake(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert clock_mhz(1, tmp_path) == 3100.5
    assert clock_mhz(None, tmp_path) == 2596.134
    assert clock_mhz(2, tmp_path) is None
    fake(tmp_path, {"sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "4200000\n"})
    assert clock_mhz(1, tmp_path) == 4200


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"hwmon/hwmon2/name": "coretemp\n", "hwmon/hwmon2/temp1_input": "52000\n"}, 52),
        ({"hwmon/hwmon0/name": "nvme\n", "hwmon/hwmon0/temp1_input": "80000\n"}, None),
        (
            {
                "hwmon/hwmon0/name": "k10temp\n",
                "hwmon/hwmon0/temp1_input": "61250\n",
                "hwmon/hwmon0/temp3_input": "58000\n",
                "thermal/thermal_zone0/type": "acpitz\n",
                "thermal/thermal_zone0/temp": "90000\n",
            },
            61.25,
        ),
        ({"thermal/thermal_zone0/type": "cpu-thermal\n", "thermal/thermal_zone0/temp": "48312\n"}, 48.312),
    ],
)
def test_temperature_is_the_processors(tmp_path: Path, files: dict[str, str], expected: float | None) -> None:
    root = fake(tmp_path, {f"sys/class/{name}": content for name, content in files.items()})
    assert temperature_c(root) == expected


def test_clock_and_temperature_are_read_before_and_after(tmp_path: Path) -> None:
    name = "sys/devices/system/cpu/cpu3/cpufreq/scaling_cur_freq"
    sensors = Sensors(core=3, root=fake(tmp_path, {name: "2400000"}), nvml=None)
    before = sensors.state()
    fake(tmp_path, {name: "1500000"})
    assert sensors.changes(before) == SensorChanges(
        clock_mhz=Clock(before=2400.0, after=1500.0), temperature_c=Temperature(before=None, after=None)
    )


class Library:
    """libnvidia-ml as far as it is called; functions give 0 for success, as C does."""

    def __init__(self) -> None:
        self.energy, self.init = 5_000, 0

    def nvmlInit_v2(self) -> int:  # noqa: N802
        return self.init

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, device: Any) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, value: Any) -> int:  # noqa: N802
        value._obj.value = self.energy
        return 0

    def nvmlDeviceGetClockInfo(self, device: Any, kind: int, value: Any) -> int:  # noqa: N802
        value._obj.value = {1: 1755}[kind]
        return 0

    def nvmlDeviceGetTemperature(self, device: Any, sensor: int, value: Any) -> int:  # noqa: N802
        return 3  # NVML_ERROR_NOT_SUPPORTED

    def nvmlDeviceGetComputeRunningProcesses_v3(self, device: Any, count: Any, found: Any) -> int:  # noqa: N802
        others = [(1, 10**9), (os.getpid(), 512_000_000)]
        for place, (pid, memory) in enumerate(others):
            found[place].pid, found[place].memory = pid, memory
        count._obj.value = len(others)
        return 0


def test_a_gpu_engine_reads_the_gpu_and_adds_its_energy(tmp_path: Path) -> None:
    library = Library()
    nvml = Nvml.open(library)
    assert nvml is not None
    sensors = Sensors(on_gpu=True, root=packages(tmp_path, 0), nvml=nvml)
    assert sensors.state() == SensorState(1755, None)
    assert sensors.gpu_memory_mb() == 512
    before = sensors.energy()
    packages(tmp_path, 100_000)
    library.energy += 300
    used = sensors.used(before, queries=10)
    assert used == Energy(mj_per_query=pytest.approx(40), meter="RAPL package + NVML GPU")
    on_cpu = Sensors(root=tmp_path, nvml=nvml)
    assert list(on_cpu.energy()) == ["RAPL package/package-0"]
    assert on_cpu.gpu_memory_mb() is None


def test_a_process_that_the_driver_does_not_list_has_no_memory_to_tell() -> None:
    nvml = Nvml.open(Library())
    assert nvml is not None
    assert nvml.memory_mb(pid=2**20) is None


def test_no_driver_no_nvml(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    library.init = 9  # NVML_ERROR_DRIVER_NOT_LOADED
    assert Nvml.open(library) is None

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert Nvml.open() is None
