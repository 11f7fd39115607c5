"""Compare the latencies of our harness with those of OpenVINO's own benchmark_app, and measure a null engine.

Run it as `python scripts/agreement.py MODEL.xml`; it takes about 20 s and exits with 1 where they do not agree.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.device import machine, timing
from export.backends import OpenVino
from export.backends.openvino import OpenVinoSession

LIMIT = 0.05
ROUNDS, ROUND_S = 3, 4.5
DECILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
TURN = 40  # queries
NULL_MS = (0.5, 2.0)  # what the null engine waits
NULL_TRIES = 5
NULL_SHARE, NULL_US = 0.01, 20.0  # how far it may be off: the larger of both
TIMES = "times.json"
START = f"""
import json, sys
sys.modules["openvino_telemetry"] = None
from openvino.tools.benchmark import benchmark, main
percentile = benchmark.percentile
def told(times, percent):
    with open({TIMES!r}, "w") as file:
        json.dump(times, file)
    return percentile(times, percent)
benchmark.percentile = told
main.main()
"""  # benchmark_app as it is, without its telemetry; it only tells each latency, not the median alone
STARTED = "First inference took"


class AgreementError(RuntimeError):
    """The check could not be made; the message says why."""


@dataclass(frozen=True)
class Application:
    """benchmark_app: synchronous, with what our session tells OpenVINO, on the cores of this process."""

    model: Path
    backend: OpenVino
    image: tuple[int, ...]

    @contextlib.contextmanager
    def start(self, seconds: float) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """The process, once it has begun to measure, and the file that gets its latencies at its end.

        It goes on for `seconds`, those that it is stopped for included.
        """
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "config.json"
            config.write_text(json.dumps({"CPU": self.backend.settings()}), encoding="utf-8")
            command = [sys.executable, "-c", START, "-m", str(self.model), "-hint", "latency", "-api", "sync"]
            command += ["-load_config", str(config), "-data_shape", f"[1,{','.join(map(str, self.image))}]"]
            command += ["-t", str(max(1, round(seconds)))]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
            ) as process:
                try:
                    self._await(process)
                    yield process, Path(folder, TIMES)
                finally:
                    process.kill()

    def _await(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line.strip())
            if STARTED in line:
                return
        wrong = next((line for line in said if "ERROR" in line), (said or ["nothing"])[-1])
        raise AgreementError(f"benchmark_app: expected it to measure {self.model}, got: {wrong}")


def compare(model: Path, threads: int, *, rounds: int = ROUNDS, seconds: float = ROUND_S) -> dict[str, Any]:
    """The facts of the check, measured in this process, which is pinned to `threads` cores.

    `difference` compares like with like: what OpenVINO's own clock says of our queries and of those of benchmark_app,
    which reports nothing else.  `python_us` is what Python and the copies add to each of our engine-only latencies.
    """
    machine.pin(threads)
    backend = OpenVino(threads=threads)
    null = null_errors_us(NULL_MS)
    session = backend.open_graph(model)
    with session:
        application = Application(model, backend, session.image)
        found = [take_turns(application, session, seconds) for _ in range(rounds)]
    ours, inside, theirs = (np.concatenate(samples) for samples in zip(*found, strict=True))
    difference = apart(inside, theirs)
    return {
        "benchmark_app_ms": float(np.median(theirs)),
        "ours_ms": float(np.median(ours)),
        "python_us": float(np.median(ours - inside)) * 1e3,
        "difference": difference,
        "limit": LIMIT,
        "agrees": abs(difference) <= LIMIT,
        "rounds": rounds,
        "engine": f"openvino {model.name}",
        "null_error_us": max(null.values()),
        "null_ok": all(error <= max(NULL_SHARE * wait * 1e3, NULL_US) for wait, error in null.items()),
    }


def apart(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """By what share our latencies are longer than theirs: the middle of the nine deciles' ratios.

    The ratio of the medians alone jumps where a machine has two speeds and spends half of its time at each.
    """
    return float(np.median(np.percentile(ours, DECILES) / np.percentile(theirs, DECILES))) - 1


def take_turns(
    application: Application, session: OpenVinoSession, seconds: float
) -> tuple[list[float], list[float], list[float]]:
    """Engine-only latencies in ms over the same `seconds`: ours, the same by OpenVINO's own clock, benchmark_app's.

    Theirs is stopped while ours runs and the other way round, every 40 queries or so: what slows the machine slows
    both, and the one query that is stopped in the middle moves no decile.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (1, *session.image), dtype=np.uint8)
    inside: list[float] = []

    def run(images: NDArray[np.uint8]) -> None:
        session(images)
        inside.append(session.runtime_ms)

    query = [("engine", run)]
    turn_s = TURN * statistics.median(timing.time_queries(query, [pixels] * TURN).whole) / 1e3
    samples: list[float] = []
    inside.clear()
    with application.start(seconds) as (process, times):
        while stop(process):
            samples += timing.time_queries(query, timing.repeated([pixels], 1, turn_s)).whole.tolist()
            process.send_signal(signal.SIGCONT)
            time.sleep(turn_s)
        assert process.stdout is not None
        said = process.stdout.read().strip()
        if not times.is_file() or not samples:
            raise AgreementError(f"benchmark_app: expected its latencies, got: {said[-200:]}")
        return samples, inside, json.loads(times.read_text(encoding="utf-8"))


def stop(process: subprocess.Popen[str]) -> bool:
    """Stop it and wait until it stands; False if it has ended."""
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return True
    process.returncode = os.waitstatus_to_exitcode(status)
    return False


def null_errors_us(
    waits_ms: Sequence[float], queries: int = 20, clock: Callable[[], int] = time.perf_counter_ns
) -> dict[float, float]:
    """By wait how far the median of a null engine, which busy-waits so long, is off.

    The least of five tries: other programs on its core can only make it wait longer.
    """

    def wait(nanoseconds: float) -> None:
        end = clock() + nanoseconds
        while clock() < end:
            pass

    def error(wait_ms: float) -> float:
        samples = timing.time_queries([("null", wait)], [wait_ms * 1e6] * queries, clock)
        return abs(float(np.median(samples.whole)) - wait_ms) * 1e3

    return {wait_ms: min(error(wait_ms) for _ in range(NULL_TRIES)) for wait_ms in waits_ms}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what both measured; 0 if they agree and the null engine is measured right, else 1."""
    parser = argparse.ArgumentParser(prog="python scripts/agreement.py", description=main.__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help=".xml or .onnx that takes uint8 images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print all facts as one line of JSON")
    options = parser.parse_args(arguments)
    try:
        found = compare(options.model.resolve(), options.threads)
    except (AgreementError, RuntimeError, ValueError, OSError) as cause:
        print(f"agreement: {' '.join(str(cause).split())}", file=sys.stderr)
        return 1
    print(json.dumps(found) if options.json else format_facts(found))
    return 0 if found["agrees"] and found["null_ok"] else 1


def format_facts(found: dict[str, Any]) -> str:
    """The facts as one line."""
    return (
        f"{found['engine']}: benchmark_app {found['benchmark_app_ms']:.3f} ms, ours {found['ours_ms']:.3f} ms, "
        f"of which Python and copies {found['python_us']:.0f} µs; by OpenVINO's clock {found['difference']:+.1%} "
        f"({'agree' if found['agrees'] else 'do NOT agree'} within {found['limit']:.0%}); "
        f"null engine {found['null_error_us']:.1f} µs off ({'right' if found['null_ok'] else 'WRONG'})"
    )


if __name__ == "__main__":
    sys.exit(main())
