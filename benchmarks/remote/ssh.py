"""A device over ssh."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from benchmarks.device.image_pack import write_pack
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import agent, requirements
from benchmarks.remote.base import DeviceEntry, DeviceError, Run, UnfitError
from benchmarks.remote.connection import Connection, Result, read_object
from benchmarks.remote.errors import ConnectionLostError, error, printable
from export.backends.stamp import hash_of
from export.bundle.bundle import DIGEST, MANIFEST, PROGRAM, SIGNATURE, read_bundle
from export.bundle.manifest import Manifest
from mlkd.core import files as whole_file

PRINTED, FETCHED = 64 << 20, 1 << 30  # the most bytes that a program prints, and that a result has
GRACE_S = 60.0  # for what an answer takes besides the command
PRINT = "import shutil,sys;shutil.copyfileobj(open(sys.argv[1],'rb'),sys.stdout.buffer)"
REMOVE = "import shutil,sys;shutil.rmtree(sys.argv[1])"


class Ssh:
    """A device that is reached through the user's own ssh; it keeps files by their hash and gets only missing ones.

    Args:
        entry: the device; its `host` is given.
        command: the ssh program and its first options.
        wait_s: before the first retry; doubled for each that follows.
    """

    def __init__(self, entry: DeviceEntry, *, command: Sequence[str] = ("ssh",), wait_s: float = 1.0) -> None:
        self.entry = entry
        self._connection = Connection(entry, command, wait_s)
        self._scratch: str | None = None

    def place(self, bundle: Path) -> Run:
        """Copy the bundle into a folder of its own, after a check that the device can run it."""
        manifest = read_bundle(bundle)
        self._check_requirements(manifest)
        about = [name for name in (MANIFEST, DIGEST, SIGNATURE) if (bundle / name).exists()]
        folder = self._copy({path: bundle / path for path in (*manifest.files, *about)})
        return self.program(f"{folder}/{PROGRAM}")

    def program(self, path: str) -> Run:
        """Run a program with the device's Python, in a process of its own."""

        def run(*arguments: str, timeout_s: float | None = None) -> Any:
            return read_printed(self._run(path, *arguments, timeout_s=timeout_s))

        return run

    def copy_file(self, file: Path) -> str:
        """Copy one file into a folder of its own."""
        return f"{self._copy({file.name: file})}/{file.name}"

    def copy_images(self, files: Sequence[Path]) -> str:
        """Copy images as one pack."""
        with tempfile.TemporaryDirectory() as folder:
            return self.copy_file(write_pack(files, Path(folder, "images.zip")))

    def scratch(self) -> str:
        """Make a folder beside the copied files."""
        if self._scratch is None:
            name = secrets.token_hex(8)
            self._scratch = self._connection.retry(lambda: self._place(f"scratch/{name}", {}, {}))
        return self._scratch

    def fetch(self, file: str, to: Path) -> None:
        """Copy a file that Python prints there."""
        result = self._run("-c", PRINT, file, longest=FETCHED)
        if result.code:
            raise error(self.entry, "system", result.last_error)
        whole_file.write(to, result.output)

    def close(self) -> None:
        """Remove the scratch folder, unless another thread still waits for the device: that one is ended."""
        if self._scratch is not None and not self._connection.is_busy:
            with contextlib.suppress(DeviceError, ConnectionLostError):  # the store drops it with time
                arguments = ["-c", REMOVE, self._scratch]
                self._connection.call("run", arguments=arguments, timeout_s=GRACE_S, wait_s=1.0)
        self._connection.close()

    def _check_requirements(self, manifest: Manifest) -> None:
        kinds = list(dict.fromkeys(str(engine.backend["kind"]) for engine in manifest.engines))
        kinds = [kind for kind in kinds if kind in self.entry.runtimes or not self.entry.runtimes]
        if not kinds:
            problem = "runtimes: expected one that the bundle has engines of, got none of them; correct devices.yaml"
            raise UnfitError(f"{self.entry.name}: {problem}")
        try:
            source = Path(requirements.__file__).read_text(encoding="utf-8")
            answer = read_printed(self._run("-c", source, *kinds))
        except ProcessFailedError as cause:
            step = f"try `ssh {self.entry.host} {self.entry.python}`"
            raise UnfitError(f"{self.entry.name}: python: expected what it is and has, got: {cause}; {step}") from None
        if "problem" not in answer:
            raise error(self.entry, "invalid", "no check of its packages")
        if answer["problem"] is not None:
            raise UnfitError(f"{self.entry.name}: {printable(str(answer['problem']))}")

    def _run(self, *arguments: str, timeout_s: float | None = None, longest: int = PRINTED) -> Result:
        """Run Python there; raises ProcessFailedError if it takes too long."""
        limit_s = timeout_s or self.entry.timeout_s
        silence_s = self.entry.timeout_s + limit_s + GRACE_S  # the agent may wait for its turn
        result = self._connection.retry(
            lambda: self._connection.call(
                "run", arguments=arguments, timeout_s=limit_s, silence_s=silence_s, longest=longest
            )
        )
        if result.code == agent.LATE:
            raise ProcessFailedError(f"no answer within {limit_s:g} s")
        return result

    def _copy(self, files: Mapping[str, Path]) -> str:
        """Copy what is missing; the value is a folder there that holds exactly these files."""
        hashes = {path: hash_of(file) for path, file in files.items()}
        sources = {hashes[path]: file for path, file in files.items()}
        name = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]
        return self._connection.retry(lambda: self._place(f"bundles/{name}", hashes, sources))

    def _place(self, target: str, hashes: Mapping[str, str], sources: Mapping[str, Path]) -> str:
        place = partial(self._connection.ask, "place", target=target, files=hashes)
        answer = place(sent=[])
        if "missing" in answer:
            sent = self._find_missing(answer, sources)
            with _open_ends([(sources[name], start) for name, start, _ in sent]) as stream:
                answer = place(sent=sent, stdin=stream)
        if "missing" in answer:
            raise ConnectionLostError("a file that is not as it was sent")
        folder = answer.get("folder")
        if not isinstance(folder, str):
            raise error(self.entry, "invalid", "no folder")
        return folder

    def _find_missing(self, answer: Mapping[str, Any], sources: Mapping[str, Path]) -> list[tuple[str, int, int]]:
        """Which files to send, each with its sha256, first byte and size; raises DeviceError if they do not fit."""
        begun, free = answer["missing"], answer.get("free")
        if not (isinstance(begun, dict) and begun.keys() <= sources.keys() and isinstance(free, int)):
            raise error(self.entry, "invalid", "no list of files")
        sent = []
        for name, start in begun.items():
            size = sources[name].stat().st_size
            sent.append((name, start if isinstance(start, int) and 0 <= start <= size else 0, size))
        needed = sum(size - start for _, start, size in sent)
        if needed > free:
            raise error(self.entry, "free", f"{needed / 1e6:.1f} MB free, got {free / 1e6:.1f} MB")
        return sent


@contextlib.contextmanager
def _open_ends(files: Sequence[tuple[Path, int]]) -> Iterator[IO[bytes]]:
    """The files, each from a byte on, as one."""
    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(file.open("rb", buffering=0)) for file, _ in files]
        for stream, (_, start) in zip(streams, files, strict=True):
            stream.seek(start)
        if len(streams) == 1:
            yield streams[0]
            return
        whole = opened.enter_context(tempfile.TemporaryFile(buffering=0))
        for stream in streams:
            shutil.copyfileobj(stream, whole)
        whole.seek(0)
        yield whole


def read_printed(result: Result) -> dict[str, Any]:
    """The JSON object in the last line that a program printed; raises ProcessFailedError if there is none."""
    printed = read_object((result.output.strip().splitlines() or [b""])[-1])
    if printed is None:
        raise ProcessFailedError(f"exit code {result.code}: {result.last_error}")
    return printed
