"""Break the pipeline on purpose and say what was lost: `make torture`, up to two hours on two cores.

Every attempt is recorded in WORK/SUBJECT.jsonl, so an interrupted command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from types import ModuleType

from benchmarks.device import machine
from scripts.torture import annotations, damage, disk, hostile, kills, long_runs, programs, same, together
from scripts.torture.attempt import Attempt

SUBJECTS = {
    "kills": kills,
    "programs": programs,
    "disk": disk,
    "damage": damage,
    "together": together,
    "same": same,
    "hostile": hostile,
    "annotations": annotations,
    "long_runs": long_runs,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the attempts that are missing and print the table; returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="SUBJECT")
    parser.add_argument("--share", type=float, default=1.0, help="of the attempts, for a shorter run")
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="subjects; default: 2")
    parser.add_argument("--work", type=Path, default=Path("runs/torture"), metavar="FOLDER")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    chosen.work.mkdir(parents=True, exist_ok=True)
    kills.undisturbed(chosen.work.resolve() / "any")  # before all others, which use it
    stop = Event()
    with ThreadPoolExecutor(chosen.at_once) as threads:
        works = {name: chosen.work / name for name in chosen.only}
        started = [threads.submit(_complete, SUBJECTS[name], work, chosen.share, stop) for name, work in works.items()]
        try:
            for one in as_completed(started):
                one.result()
        finally:
            stop.set()
    return print_table(chosen.only, chosen.work)


def _complete(subject: ModuleType, work: Path, share: float, stop: Event) -> None:
    """Add the attempts of a subject that are missing to its file."""
    work.mkdir(parents=True, exist_ok=True)
    for what, count in subject.WANTED.items():
        done = sum(one.what == what for one in read(work))
        missing = max(0, math.ceil(share * count) - done)
        for attempt in subject.attempts(work.resolve(), what, missing, seed=done):
            with work.with_suffix(".jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(vars(attempt)) + "\n")
            logging.info("%s: %s: %s", work.name, what, "; ".join(attempt.faults) or attempt.note)
            if stop.is_set():
                return


def print_table(names: Sequence[str], work: Path) -> int:
    """Print what was tried, how often, and what was lost; 1 if anything was, else 0."""
    here = machine.describe()
    print(f"{here['cpu']}, {here['cores']} cores, {here['instruction_set']}\n")
    print("| what | attempts | lost | measured |\n|---|--:|---|---|")
    faults = []
    for name in names:
        attempts = read(work / name)
        for what in SUBJECTS[name].WANTED:
            own = [one for one in attempts if one.what == what]
            lost = [fault for one in own for fault in one.faults]
            verdict = f"{len(lost)}: {lost[0]}" if lost else "nothing" if own else "not tried"
            print(f"| {what} | {len(own)} | {verdict} | {own[-1].measured if own else ''} |")
            faults += lost
    return 1 if faults else 0


def read(work: Path) -> list[Attempt]:
    """The attempts of a subject so far."""
    file = work.with_suffix(".jsonl")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [Attempt(**json.loads(line)) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
