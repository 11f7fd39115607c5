"""What a machine tells of itself while it works: energy, clock, temperature, GPU memory; None where it is silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.device.nvml import Nvml
from benchmarks.device.output import Clock, Energy, SensorChanges, Temperature
from export.backends.host import text

CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")  # hwmon's names of what sits in a processor
ZONES = ("x86_pkg_temp", "cpu-thermal", "cpu_thermal", "CPU-therm", "soc-thermal")  # thermal zones' names of it

Meters = dict[str, tuple[float, float]]  # by counter: millijoules, and where it starts again at 0


@dataclass(frozen=True)
class SensorState:
    """One reading of clock and temperature."""

    clock_mhz: float | None
    temperature_c: float | None


@dataclass(frozen=True, kw_only=True)
class Sensors:
    """Those of the CPU, read for one `core` where that can be; with `on_gpu` those of NVIDIA's first GPU.

    Energy counts what the whole package or card draws, its idle draw and other programs included; for a GPU that of the
    CPU comes on top, where both have a meter.
    """

    core: int | None = None
    on_gpu: bool = False
    root: Path = Path("/")
    nvml: Nvml | None = field(default_factory=Nvml.open)

    def energy(self) -> Meters:
        """A reading of every meter that counts."""
        meters = rapl(self.root)
        joined = self.nvml.energy_mj() if self.nvml and self.on_gpu else None
        return meters | ({"NVML GPU": (joined, float("inf"))} if joined is not None else {})

    def used(self, before: Meters, *, queries: int) -> Energy | None:
        """Energy a query since that reading, and the meters; None without a meter.

        A counter may have started again once: after minutes to an hour, by its size.
        """
        spent: dict[str, float] = {}
        for name, (now, most) in self.energy().items():
            if name in before:
                meter = name.rpartition("/")[0] or name
                difference = now - before[name][0]
                spent[meter] = spent.get(meter, 0.0) + (difference + most if difference < 0 else difference)
        if not spent:
            return None
        return Energy(mj_per_query=sum(spent.values()) / queries, meter=" + ".join(spent))

    def state(self) -> SensorState:
        """Clock and temperature now."""
        gpu = self.nvml if self.on_gpu else None
        return SensorState(
            clock_mhz=gpu.clock_mhz() if gpu else clock_mhz(self.core, self.root),
            temperature_c=gpu.temperature_c() if gpu else temperature_c(self.root),
        )

    def changes(self, before: SensorState) -> SensorChanges:
        """Clock and temperature then and now."""
        after = self.state()
        return SensorChanges(
            clock_mhz=Clock(before=before.clock_mhz, after=after.clock_mhz),
            temperature_c=Temperature(before=before.temperature_c, after=after.temperature_c),
        )

    def gpu_memory_mb(self) -> float | None:
        """What this process holds on the GPU."""
        return self.nvml.memory_mb() if self.nvml and self.on_gpu else None


def rapl(root: Path = Path("/")) -> Meters:
    """The processor packages' counters (Intel, and AMD since Zen); empty where only root may read them."""
    meters: Meters = {}
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        name = text(zone / "name")
        used, most = _number(zone / "energy_uj"), _number(zone / "max_energy_range_uj")
        if name and name.startswith("package") and used is not None and most:
            meters[f"RAPL package/{name}"] = used / 1e3, most / 1e3
    return meters


def clock_mhz(core: int | None, root: Path = Path("/")) -> float | None:
    """Of that core, or of the first; what the kernel set, or what /proc/cpuinfo says (a nominal one, if virtual)."""
    kilohertz = _number(root / f"sys/devices/system/cpu/cpu{core or 0}/cpufreq/scaling_cur_freq")
    if kilohertz is not None:
        return kilohertz / 1e3
    lines = (text(root / "proc/cpuinfo") or "").splitlines()
    clocks = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return clocks[core or 0] if len(clocks) > (core or 0) else None


def temperature_c(root: Path = Path("/")) -> float | None:
    """The hottest sensor of the processor."""
    files = [
        file
        for chip in sorted((root / "sys/class/hwmon").glob("hwmon*"))
        if text(chip / "name") in CHIPS
        for file in chip.glob("temp*_input")
    ]
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*"))
    files += [zone / "temp" for zone in zones if text(zone / "type") in ZONES]
    return max((value / 1e3 for value in map(_number, files) if value is not None), default=None)


def _number(file: Path) -> float | None:
    try:
        return float(text(file) or "")
    except ValueError:
        return None
