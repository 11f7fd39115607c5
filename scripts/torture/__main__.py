"""Break the pipeline on purpose and say what was lost: `make torture`, up to two hours on two cores.

Every attempt is recorded in WORK/SUBJECT.jsonl, so an interrupted command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from benchmarks.device import machine
from scripts.torture import annotations, disk, hostile, kills
from scripts.torture.attempt import Attempt

SUBJECTS = {"kills": kills, "disk": disk, "hostile": hostile, "annotations": annotations}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the attempts that are missing and print the table; returns 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=list(SUBJECTS), metavar="SUBJECT")
    parser.add_argument("--share", type=float, default=1.0, help="of the attempts, for a shorter run")
    parser.add_argument("--work", type=Path, default=Path("runs/torture"), metavar="FOLDER")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    for name in chosen.only:
        _complete(SUBJECTS[name], chosen.work / name, chosen.share)
    here = machine.describe()
    print(f"{here['cpu']}, {here['cores']} cores, {here['instruction_set']}\n")
    print("| what | attempts | lost |\n|---|--:|---|")
    faults = []
    for name in chosen.only:
        attempts = read(chosen.work / name)
        for what in SUBJECTS[name].WANTED:
            own = [one for one in attempts if one.what == what]
            lost = [fault for one in own for fault in one.faults]
            verdict = f"{len(lost)}: {lost[0]}" if lost else "nothing" if own else "not tried"
            print(f"| {what} | {len(own)} | {verdict} |")
            faults += lost
    return 1 if faults else 0


def _complete(subject: ModuleType, work: Path, share: float) -> None:
    """Add the attempts of a subject that are missing to its file."""
    work.mkdir(parents=True, exist_ok=True)
    for what, count in subject.WANTED.items():
        done = sum(one.what == what for one in read(work))
        missing = max(0, round(share * count) - done)
        for attempt in subject.attempts(work.resolve(), what, missing, seed=done):
            with work.with_suffix(".jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(vars(attempt)) + "\n")
            logging.info("%s: %s: %s", work.name, what, "; ".join(attempt.faults) or attempt.note)


def read(work: Path) -> list[Attempt]:
    """The attempts of a subject so far."""
    file = work.with_suffix(".jsonl")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [Attempt(**json.loads(line)) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
