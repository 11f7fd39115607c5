"""What the program of a bundle prints on a device."""

import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.device.protocol import PARTS
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import DeviceEntry, NoRoomError
from export.bundle.bundle import read_bundle
from export.bundle.manifest import EngineEntry, Manifest

SHA = "ab" * 32
Answer = Callable[..., Any]


def process(milliseconds: float = 2.0, queries: int = 70, **changes: Any) -> dict[str, Any]:
    """The output of `tagger.pyz bench` for one engine."""
    whole = [milliseconds + 0.01 * query for query in range(queries)]
    parts = {
        f"{part}_ms": [value * share for value in whole]
        for part, share in zip(PARTS, (0.2, 0.1, 0.6, 0.1), strict=True)
    }
    runtime = {"provider": "openvino", "device": "CPU", "compute": "f32", "version": "openvino 2026.4.1", "placed": 1.0}
    printed = {
        "engine": "openvino-fp32",
        "ran": runtime,
        "sha256": SHA,
        "bytes": 1234,
        "built_here": False,
        "pinned": [1],
        "load_ms": 100.0,
        "first_ms": 30.0,
        "warm_up": {"settled": True, "queries": 48, "seconds": 0.3},
        "samples": {"end_to_end_ms": whole, "engine_ms": [1.0, 3.0], **parts},
        "peak_rss_mb": 100.0,
        "gpu_memory_mb": None,
        "energy": {"mj_per_query": 3.0, "meter": "RAPL package"},
        "clock_mhz": {"before": 3000.0, "after": 2900.0},
        "temperature_c": {"before": 40.0, "after": None},
        "throughput": None,
        "sustained": None,
    }
    return printed | changes


def throughput(rate: float) -> dict[str, Any]:
    """Of a search or of one setting."""
    return {"images_per_second": rate, "batch": 8, "streams": 2, "tried": [[8, 2, rate]]}


def sustained(seconds: float) -> dict[str, Any]:
    """A run without a pause."""
    sensors = {"clock_mhz": {"before": 3000.0, "after": 2500.0}, "temperature_c": {"before": None, "after": None}}
    return dict.fromkeys(("p50", "p90", "p99", "first_p90", "last_p90"), 2.0) | {"seconds": seconds, **sensors}


@dataclass
class FakeDevice:
    """A device whose program answers at once, from the manifest of each bundle; `overrides` answer by command.

    An override gets the arguments of its command and the answer of the program, which it calls or not.
    """

    scores: np.ndarray
    folder: Path
    entry: DeviceEntry = field(default_factory=lambda: DeviceEntry(name="here"))
    overrides: dict[str, Callable[[tuple[str, ...], Answer], Any]] = field(default_factory=dict)
    room: int = 1000  # for images
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def place(self, bundle: Path) -> Answer:
        """The program of a bundle."""
        manifest = read_bundle(bundle, verify=False)

        def run(*arguments: str, timeout_s: float | None = None) -> Any:
            self.commands.append(arguments)
            engines = [manifest.engine(name) for word, name in itertools.pairwise(arguments) if word == "--engine"]

            def answer() -> Any:
                return getattr(self, f"_{arguments[0]}")(manifest, engines, arguments)

            override = self.overrides.get(arguments[0])
            return override(arguments, answer) if override else answer()

        return run

    def copy_images(self, files: Any) -> str:
        """The name of a list that nobody reads."""
        if len(files) > self.room:
            raise NoRoomError("here: expected room for the test set, got none")
        return "images.txt"

    def scratch(self) -> str:
        """The folder that `scores` writes to."""
        return str(self.folder)

    def fetch(self, file: str, to: Path) -> None:
        """A copy."""
        shutil.copyfile(file, to)

    def _info(self, manifest: Manifest, *_: Any) -> Any:
        lacks = {"tensorrt": "no NVIDIA GPU"}
        engines = [{"name": entry.name, "lacks": lacks.get(entry.backend["kind"])} for entry in manifest.engines]
        return {"engines": engines, "machine": {"cpu": "some", "cores": 2, "instruction_set": "avx2"}}

    def _bench(self, manifest: Manifest, engines: list[EngineEntry], words: tuple[str, ...]) -> Any:
        rate = 100.0 if "--throughput" in words else 80.0
        return process(
            sha256=manifest.files[engines[0].file].sha256,
            throughput=throughput(rate) if {"--throughput", "--throughput-at"} & set(words) else None,
            sustained=sustained(float(words[-1])) if "--sustained-s" in words else None,
        )

    def _scores(self, manifest: Manifest, engines: list[EngineEntry], words: tuple[str, ...]) -> Any:
        out = Path(words[words.index("--out") + 1])
        out.mkdir(parents=True, exist_ok=True)
        for entry in engines:
            np.save(out / f"{entry.name}.npy", self.scores)
        return {
            entry.name: {"ran": None, "sha256": manifest.files[entry.file].sha256, "error": None} for entry in engines
        }


def fails(reason: str) -> Callable[..., Any]:
    """An override of a program that ends with an error."""

    def override(*_: Any) -> Any:
        raise ProcessFailedError(reason)

    return override
