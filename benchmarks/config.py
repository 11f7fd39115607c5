"""Configuration of the measurements: the protocol of a recipe, and the devices of devices.yaml."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Literal

RUNTIMES = ("onnxruntime", "openvino", "tensorrt")
HOST = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_.+-]*@)?[A-Za-z0-9_:\[][A-Za-z0-9_.:%\[\]-]*")
THOROUGH_QUERIES, THOROUGH_LEAST_S, SUSTAINED_S = 1024, 10.0, 600.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """How engines are measured."""

    processes: int = 3  # per engine
    reference_processes: int = 1  # per reference
    queries: int = 256
    least_s: float = 0.0  # a process runs until it has both
    threads: int = 1
    images: int = 64  # of the test set, decoded again in every query
    warm_up_s: float = 3.0
    throughput: bool = False  # search for the best batch and streams, half a minute an engine
    all_references: bool = False  # besides the teacher's engines the baseline's, and teacher and student in torch
    torch_compile: bool = False  # time the student compiled by torch as well; needs a C++ compiler
    sustained_s: float = 0.0  # end to end without a pause, once per engine
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("processes", "reference_processes", "queries", "threads", "images", "timeout_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"bench.{name}: expected more than 0, got {getattr(self, name)}")
        for name in ("least_s", "warm_up_s", "sustained_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"bench.{name}: expected at least 0, got {getattr(self, name)}")

    def thorough(self) -> Bench:
        """Return every measurement, with at least 1,024 queries and 10 s a process, and ten minutes an engine."""
        return dataclasses.replace(
            self,
            queries=max(self.queries, THOROUGH_QUERIES),
            least_s=max(self.least_s, THOROUGH_LEAST_S),
            sustained_s=max(self.sustained_s, SUSTAINED_S),
            reference_processes=max(self.reference_processes, self.processes),
            throughput=True,
            all_references=True,
            torch_compile=True,
        )

    def protocol(self) -> dict[str, str]:
        """Describe the protocol for the readers of a report."""
        from benchmarks.device import timing

        least = f" and at least {self.least_s:g} s" if self.least_s else ""
        described = {
            "stream": "single: batch 1, the next query starts when the last has ended",
            "headline": "p90 end to end: image bytes in memory to labels, split into decode, resize, infer, post",
            "engine only": "p50: uint8 tensor in, scores out, transfers included",
            "p90 bound": "what p90 stays below with 99 % confidence: MLPerf's early-stopping estimate",
            "queries": f"{self.queries}{least} a process over {self.images} test images",
            "processes": f"{self.processes} fresh ones an engine, {self.reference_processes} a reference, "
            "all interleaved in a seeded random order; those in torch are forked from one that has imported it",
            "threads": f"{self.threads}, process pinned to as many cores; in a browser one, not pinned",
            "warm-up": "until the medians of three windows (16 queries and 0.1 s each) agree within "
            f"{timing.AGREE:.0%}, or {self.warm_up_s:g} s: unsettled",
            "spread": "range of the p50 of both halves of every process over their median; above "
            f"{timing.UNSTABLE:.0%} a row is unstable",
            "energy": "of the whole package or card over the end-to-end queries, what it draws when idle included",
            "accuracy": "whole test set through the file that was timed, on the device that was timed; references "
            "on the machine that made them; "
            "95 % intervals for the choice of test images (infinitesimal jackknife), differences paired",
        }
        if self.throughput:
            described["throughput"] = (
                "engine only, best of the batches and streams tried in a process of its own on all cores, "
                f"one thread a stream, and measured again there in {self.processes} fresh ones: their median; "
                "never mixed with latency"
            )
        if self.sustained_s:
            described["sustained"] = f"{self.sustained_s:g} s end to end without a pause, each engine once, at the end"
        return described


@dataclass(frozen=True, kw_only=True)
class DeviceEntry:
    """One device of devices.yaml."""

    name: str
    kind: Literal["tagger", "browser"] = field(default="tagger", metadata={"identity": "unless default"})
    host: str | None = None  # None: this machine; else a Host of the user's ssh config, or user@address
    port: int | None = None  # None: the ssh config's
    python: str = "python3"  # of this machine: the Python that runs this
    folder: str = ".cache/edge-tagger"  # of copied files: absolute, or relative to the home folder
    install: str = field(default="edge-tagger", metadata={"identity": False})  # where `ship` installs, likewise
    runtimes: tuple[str, ...] = ()  # measure only engines of these; empty: of all
    threads: int | None = None  # None: the recipe's
    executable: str | None = field(default=None, metadata={"identity": "unless default"})  # the browser
    power_mode: str | None = None  # only recorded
    rebuild: bool = False  # build engines on the device that were not built for it
    retries: int = 3  # after the connection is lost
    timeout_s: float = 600.0  # of one command

    def __post_init__(self) -> None:
        for name in ("name", "python", "folder", "install"):
            self._check(name, bool(getattr(self, name)) and getattr(self, name).isprintable(), "printable text")
        # a host that begins with "-" would be read as an option by ssh
        self._check("host", self.host is None or HOST.fullmatch(self.host) is not None, "a Host or user@address")
        self._check("python", not self.python.startswith("-"), "a program")
        self._check("port", self.port is None or 0 < self.port < 65536, "1 to 65535")
        self._check("runtimes", set(self.runtimes) <= set(RUNTIMES), f"some of {', '.join(RUNTIMES)}")
        self._check("threads", self.threads is None or self.threads > 0, "at least 1")
        self._check("retries", self.retries >= 0, "at least 0")
        self._check("timeout_s", self.timeout_s > 0, "more than 0")
        if self.kind == "browser":
            self._check("host", self.host is None, "none, as a browser runs on this machine")
            self._check("threads", self.threads in (None, 1), "1, as a page has")
            self._check("runtimes", not self.runtimes or "onnxruntime" in self.runtimes, "onnxruntime among them")
            for name in ("port", "python", "folder", "install", "power_mode", "rebuild"):
                self._check(
                    name,
                    getattr(self, name) == getattr(DeviceEntry, name),
                    "nothing, as a browser runs on this machine",
                )
        self._check("executable", self.executable is None or self.kind == "browser", "none without kind: browser")

    @property
    def is_here(self) -> bool:
        """Whether it is this machine itself, measured by the bundle's own program."""
        return self.kind == "tagger" and self.host is None

    def _check(self, key: str, good: bool, expected: str) -> None:
        if not good:
            got = getattr(self, key)
            raise ValueError(f"device {self.name!r}: {key}: expected {expected}, got {got!r}; correct devices.yaml")
