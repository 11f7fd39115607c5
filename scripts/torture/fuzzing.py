"""Fuzz one door: `python -m scripts.torture.fuzzing DOOR --seconds 60`; guided by coverage where atheris is installed.

Inputs with faults are written to a folder, and the number of inputs to its file count.txt.  A child of `hostile`, or
by hand.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import hashlib
import importlib.util
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.torture.doors.door import Door

CORPUS = Path(__file__).parents[2] / "tests/corpus"
MEMORY_BYTES = 3 << 29  # that a door may add: a large image takes 1.4 GB
COUNTED = 50
INPUT_S = 60  # after which an input hangs
PACKAGES = ["mlkd", "export", "benchmarks", "pipeline", "yaml", "tarfile", "json", "csv", "xml"]


class Tries:
    """Tries inputs at a door, and keeps those with a new fault."""

    def __init__(self, door: Door, fault_of: Callable[[Door, bytes], str | None], out: Path) -> None:
        self.door, self.fault_of, self.out = door, fault_of, out
        self.count = 0
        self.known: set[str] = set()

    def one(self, content: bytes) -> None:
        """Try one input."""
        self.count += 1
        if self.count % COUNTED == 0:  # libFuzzer ends the process itself
            (self.out / "count.txt").write_text(f"{self.count}\n")
        fault = self.fault_of(self.door, content)
        if fault is None:
            return
        kind = fault.partition(": ")[0]
        if kind not in self.known:
            self.known.add(kind)
            digest = hashlib.sha256(content).hexdigest()[:12]
            (self.out / f"fault-{digest}").write_bytes(content)
            with (self.out / "faults.txt").open("a", encoding="utf-8") as file:
                print(f"fault-{digest}: {fault}".encode("ascii", "backslashreplace").decode(), file=file)


def main() -> None:
    """Fuzz until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("door")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/torture/hostile"))
    parser.add_argument("--plain", action="store_true", help="without atheris")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    guided = not options.plain and importlib.util.find_spec("atheris") is not None
    with _instrumented() if guided else contextlib.nullcontext():
        from scripts.torture.doors import find_door
        from scripts.torture.doors.door import fault_of
        from scripts.torture.doors.values import each_value_changed

        door = find_door(options.door)
    seeds = [file.read_bytes() for file in sorted((CORPUS / options.door).iterdir())]
    fault_of(door, seeds[0])  # imports, whose time is not that of an input
    tries = Tries(door, fault_of, options.out)
    for seed in seeds:
        tries.one(seed)
    began, changed = time.monotonic(), [content for seed in seeds for content in each_value_changed(seed)]
    random.Random(options.seed).shuffle(changed)
    for content in changed:
        if time.monotonic() - began > options.seconds / 2:
            break
        tries.one(content)
    _limit_memory()
    (_guided if guided else _by_chance)(tries, seeds, options)


def _instrumented() -> Any:
    import atheris

    return atheris.instrument_imports(include=PACKAGES, enable_loader_override=False)


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES,) * 2)


def _by_chance(tries: Tries, seeds: list[bytes], options: Any) -> None:
    from scripts.torture.doors.mutate import mutated

    chance = random.Random(options.seed)
    ends = time.monotonic() + options.seconds
    while time.monotonic() < ends:
        with _hang_ends():
            tries.one(mutated(chance.choice(seeds), chance, seeds))


@contextlib.contextmanager
def _hang_ends() -> Iterator[None]:
    faulthandler.dump_traceback_later(INPUT_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _guided(tries: Tries, seeds: list[bytes], options: Any) -> None:
    import atheris

    from scripts.torture.doors.mutate import LONGEST, mutated

    def mutator(content: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        kind = chance.random()
        if kind < 0.2:
            return bytes(atheris.Mutate(content, longest))
        return mutated(chance.choice(seeds) if kind < 0.7 else bytes(content), chance, seeds)[:longest]

    arguments = [
        sys.argv[0],
        f"-max_total_time={options.seconds:g}",
        f"-max_len={LONGEST}",
        f"-seed={options.seed}",
        f"-timeout={INPUT_S}",
        "-rss_limit_mb=0",
        "-verbosity=0",
        "-len_control=0",
        f"-artifact_prefix={options.out}/hang-",
        *([str(options.out / "found"), str(CORPUS / options.door)]),
    ]
    (options.out / "found").mkdir(exist_ok=True)
    atheris.Setup(arguments, tries.one, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
