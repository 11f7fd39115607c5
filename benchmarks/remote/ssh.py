"""A device over ssh: a store of files by their hash in a folder there, copied as far as they are missing."""

from __future__ import annotations

import hashlib
import json
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.device.image_pack import write_pack
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import agent, agent_facts, faults, probe
from benchmarks.remote.base import DeviceEntry, DeviceError, Run
from benchmarks.remote.faults import plain
from benchmarks.remote.link import Link
from export.bundle.bundle import DIGEST, MANIFEST, PROGRAM, SIGNATURE, read_bundle
from export.bundle.manifest import Manifest
from mlkd.core.files import sha256_of

FACTS = Path(agent_facts.__file__)
AT_HOME = (
    "import os,sys;del sys.argv[0];p=os.path.expanduser;os.execv(sys.executable,[sys.executable,*map(p,sys.argv)])"
)
GRACE_S = 60.0  # for what an answer takes besides the command


class Ssh:
    """A machine that has Python, numpy, Pillow and a runtime; a Device."""

    def __init__(self, entry: DeviceEntry, *, command: Sequence[str] = ("ssh",), wait_s: float = 1.0) -> None:
        self.entry = entry
        self._link = Link(entry, command, wait_s)
        self._scratch: str | None = None

    def place(self, bundle: Path) -> Run:
        """Its files there in a folder of their own, every hash checked before they get their names."""
        manifest = read_bundle(bundle)
        self._check(manifest)
        about = [name for name in (MANIFEST, DIGEST, SIGNATURE) if (bundle / name).exists()]
        folder = self._placed({path: bundle / path for path in (*manifest.files, *about)})
        return self.program(f"{folder}/{PROGRAM}")

    def program(self, path: str) -> Run:
        """In a process that the agent starts."""
        home = ["-c", AT_HOME] if path.startswith("~") else []

        def run(*arguments: str, timeout_s: float | None = None) -> Any:
            return self._run([*home, path, *arguments], timeout_s or self.entry.timeout_s)

        return run

    def bring(self, file: Path) -> str:
        """In a folder of its own there."""
        return f"{self._placed({file.name: file})}/{file.name}"

    def images(self, files: Sequence[Path]) -> str:
        """One pack of them there."""
        with tempfile.TemporaryDirectory() as folder:
            return self.bring(write_pack(files, Path(folder, "images.zip")))

    def scratch(self) -> str:
        """A folder in the store."""
        if self._scratch is None:
            self._scratch = secrets.token_hex(8)
        return self._folder("scratch", name=self._scratch, remove=False)

    def collect(self, file: str, to: Path) -> None:
        """Its bytes, with the hash that the agent found."""
        partial = to.with_name(f"{to.name}.partial")
        try:
            self._link.insist(lambda: self._link.once("send", file=file, sink=partial))
            partial.replace(to)
        finally:
            partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the scratch folder, unless another thread still waits for the device: that one is ended."""
        try:
            if self._scratch is not None and self._link.reached and not self._link.busy:
                self._link.once("scratch", name=self._scratch, remove=True)
        except (DeviceError, faults.ConnectionLostError):
            pass  # the store drops it with time
        finally:
            self._link.close()

    def _check(self, manifest: Manifest) -> None:
        kinds = list(dict.fromkeys(str(engine.backend["kind"]) for engine in manifest.engines))
        kinds = [kind for kind in kinds if kind in self.entry.runtimes or not self.entry.runtimes]
        try:
            answer = self._run(["-c", FACTS.read_text("utf-8"), *probe.wanted(kinds)], self.entry.timeout_s)
        except ProcessFailedError as cause:
            step = f"try `ssh {self.entry.host} {self.entry.python}`"
            raise faults.unfit(self.entry, f"python: expected what it is and has, got: {cause}; {step}") from None
        try:
            reason = probe.judge(probe.read(answer), kinds)
        except ValueError as cause:
            raise faults.not_understood(self.entry, plain(str(cause))) from None
        if reason is not None:
            raise faults.unfit(self.entry, reason)

    def _run(self, arguments: Sequence[str], limit_s: float) -> dict[str, Any]:
        silence_s = self.entry.timeout_s + limit_s + GRACE_S  # the agent may wait for its turn
        request: dict[str, Any] = {"arguments": arguments, "timeout_s": limit_s}
        return printed(self._link.insist(lambda: self._link.once("run", limit_s=silence_s, **request)), limit_s)

    def _placed(self, files: Mapping[str, Path]) -> str:
        """A folder there that holds exactly these files."""
        names = {path: sha256_of(file) for path, file in files.items()}
        sources = {names[path]: file for path, file in files.items()}
        self._link.insist(lambda: self._send(sources))
        name = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()[:16]
        return self._folder("place", name=name, files=names)

    def _folder(self, do: str, **request: Any) -> str:
        answer = self._link.ask(do, **request).get("folder")
        if not isinstance(answer, str) or not answer.isprintable():
            raise faults.not_understood(self.entry, "no folder")
        return answer

    def _send(self, sources: Mapping[str, Path]) -> None:
        """What is missing there, from where the last attempt stopped."""
        there = self._link.once("have", files=list(sources))
        whole, begun, free = there.get("whole"), there.get("begun"), there.get("free")
        if not (isinstance(whole, list) and isinstance(begun, dict) and isinstance(free, int)):
            raise faults.not_understood(self.entry, "no list of files")
        missing = []
        for name, file in sources.items():
            size, start = file.stat().st_size, begun.get(name, 0)
            if name not in whole:
                missing.append((name, start if isinstance(start, int) and 0 <= start <= size else 0, size))
        needed = sum(size - start for _, start, size in missing)
        if needed > free:
            raise faults.no_room(self.entry, needed, free)
        if missing:
            self._link.once("put", files=missing, body=_pieces([(sources[name], start) for name, start, _ in missing]))


def printed(answer: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
    """The JSON object in the last line that the program wrote; raises ProcessFailedError if there is none."""
    if answer.get("late") is True:
        raise ProcessFailedError(f"no answer within {limit_s:g} s")
    try:
        found = _clean(json.loads(str(answer.get("out")), parse_constant=_refuse))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        last = plain(str(answer.get("err") or "")) or "nothing on its standard error"
        raise ProcessFailedError(f"exit code {plain(str(answer.get('code')))}: {last}")
    return {plain(name): value for name, value in found.items()}


def _clean(value: Any) -> Any:
    """The same with printable text only."""
    if isinstance(value, str):
        return "".join(c if c.isprintable() else " " for c in value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in value.items()}
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"expected numbers, got {constant}")


def _pieces(files: Sequence[tuple[Path, int]]) -> Iterator[bytes]:
    for file, start in files:
        with file.open("rb") as stream:
            stream.seek(start)
            while piece := stream.read(agent.PIECE):
                yield piece
