"""SIGKILL at random moments to the programs on a device and to `ship`: the next start goes on; nothing is half done."""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from export.bundle.bundle import read_bundle
from scripts.torture import kills
from scripts.torture.attempt import Attempt
from scripts.torture.marked import Marked, module, send
from scripts.torture.tagging import Serving, SidecarWriting, Watching
from tests.helpers import bundles, sshd

LONG_S = 120.0  # within which a program ends


class Program(Protocol):
    """A program that is killed; `work` is its folder."""

    def command(self, turn: int, /) -> Sequence[str | Path]:
        """Prepare a turn, and return what is started and killed."""

    def faults(self, turn: int, /) -> list[str]:
        """Start it again after it was killed, to its end; what is not as it should be then."""


class Installing:
    """Two versions of a bundle that take turns in one folder."""

    def __init__(self, work: Path, bundle: Path) -> None:
        self.to = work / "installed"
        (work / "card.md").write_text("another version")
        self.versions = bundle, work / "other"
        bundles.changed(bundle, self.versions[1], {"card.md": work / "card.md"})
        self.work = work

    def command(self, turn: int) -> Sequence[str | Path]:
        return [sys.executable, self.versions[turn % 2] / "tagger.pyz", "install", "--to", self.to]

    def faults(self, turn: int) -> list[str]:
        faults = self._not_whole()
        again = Marked(self.work, self.command(turn))
        if (code := again.wait(LONG_S)) != 0:
            faults.append(f"did not go on: {code}: {again.tail()}")
        again.kill()
        current, wanted = (bundle / "manifest.sha256" for bundle in (self.to / "current", self.versions[turn % 2]))
        if not current.is_file() or current.read_bytes() != wanted.read_bytes():
            faults.append("another version is current")
        versions = list((self.to / "versions").iterdir())
        unknown = sorted({path.name for path in self.to.iterdir()} - {".lock", "current", "previous", "versions"})
        return faults + ([f"left: {unknown}, {versions}"] if unknown or len(versions) > len(self.versions) else [])

    def _not_whole(self) -> list[str]:
        """Why the current version cannot be used, if there is one."""
        try:
            if (self.to / "current").exists():
                read_bundle((self.to / "current").resolve())
        except (ValueError, OSError) as cause:
            return [f"the current version is not whole: {cause}"]
        return []


class Shipping(Installing):
    """The same over ssh, to a device that is this machine."""

    def __init__(self, work: Path, bundle: Path, server: sshd.Server) -> None:
        super().__init__(work, bundle)
        python = sshd.bare_python(work / "bare")
        (work / "devices.yaml").write_text(
            f"devices: [{{name: board, host: board, python: {python}, folder: {work}/store, install: {self.to}}}]\n"
        )
        (work / "bin").mkdir()
        ssh = work / "bin/ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} {" ".join(server.command[1:])} "$@"\n')
        ssh.chmod(0o755)
        self.path = f"{work}/bin"

    def command(self, turn: int) -> Sequence[str | Path]:
        shipped = module("pipeline", "ship", str(self.versions[turn % 2]), "--devices", "devices.yaml")
        return ["env", f"PATH={self.path}:/usr/bin:/bin", *shipped]


INSTALL, SHIP = "SIGKILL to tagger.pyz install", "SIGKILL to ship or its ssh"
XMP, WATCH, SERVE = "SIGKILL to tag --xmp", "SIGKILL to tag --watch --xmp", "SIGKILL to serve under load"
WANTED = {INSTALL: 40, SHIP: 20, XMP: 30, WATCH: 30, SERVE: 20}
CASES = {INSTALL: Installing, XMP: SidecarWriting, WATCH: Watching, SERVE: Serving}


def attempts(work: Path, what: str, count: int, *, seed: int) -> Iterator[Attempt]:
    """Kill a program `count` times, each time followed by a start that goes on."""
    reference = kills.undisturbed(work)
    place = work / "disturbed"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    with ExitStack() as stack:
        program: Program
        if what == SHIP:
            program = Shipping(place, reference / "dist/tiny", stack.enter_context(sshd.Server(place / "sshd")))
        else:
            program = CASES[what](place, reference / "dist/tiny")
        for turn in range(2 if count else 0):  # undisturbed, until all is there and nothing has to be compiled
            program.command(turn)
            began = time.monotonic()
            if faults := program.faults(turn):
                yield Attempt(what, "without a kill", faults)
            seconds = time.monotonic() - began
        for number in range(seed, seed + count):
            yield _kill(place, program, what, number, seconds)
    shutil.rmtree(place)


def _kill(place: Path, program: Program, what: str, number: int, seconds: float) -> Attempt:
    chance = random.Random(f"{what} {number}")
    running = Marked(place, program.command(number))
    moment = chance.uniform(0, seconds)
    note = f"after {moment:.2f} s"
    if running.wait(moment) is None:
        children = running.children()
        victim = chance.choice([running.process.pid, *children])
        send(victim, 9)
        note += f", process {1 + [running.process.pid, *children].index(victim)} of {1 + len(children)}"
        if victim != running.process.pid:
            running.wait(LONG_S)
    left = running.orphans(kills.GONE_S)
    faults = [f"left processes: {', '.join(left)}"] if left else []
    return Attempt(what, note, faults + program.faults(number))
