"""What a killed `tag --xmp`, `tag --watch` and `serve` must leave, and do at their next start."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from scripts.torture import one_stage
from scripts.torture.marked import Marked, free_port, send
from tests.helpers import xmp

LONG_S = 120.0  # within which a program does what is waited for
LOG, STOPPED_BY = "again.txt", signal.SIGTERM


class SidecarWriting:
    """Tags of 24 images, each in the sidecar beside its image."""

    def __init__(self, work: Path, bundle: Path) -> None:
        self.work, self.program, self.folder = work, bundle / "tagger.pyz", work / "in"
        self.images = one_stage.test_images(bundle.parents[1])
        self.expected: dict[str, list[str]] = {}  # of the first turn

    def command(self, _turn: int) -> Sequence[str | Path]:
        self._empty()
        return self._tag("--xmp", self.folder)

    def faults(self, _turn: int) -> list[str]:
        if not self.folder.is_dir():
            self._empty()
        again = Marked(self.work, self._tag("--xmp", self.folder), log_name=LOG)
        code = again.wait(LONG_S)
        again.kill()
        return ([] if code == 0 else [f"did not go on: {code}: {again.tail()}"]) + self._sidecar_faults()

    def _tag(self, *words: str | Path) -> Sequence[str | Path]:
        return [sys.executable, self.program, "tag", "--json", "--engine", "onnxruntime-fp32", *words]

    def _empty(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        for image in self.images:
            shutil.copy(image, self.folder)

    def _sidecar_faults(self) -> list[str]:
        tags = {file.name: xmp.tags(file.read_bytes()) for file in self.folder.glob("*.xmp")}
        self.expected = self.expected or tags
        faults = [] if tags == self.expected else ["other tags than without a kill"]
        if len(tags) != len(self.images):
            faults.append(f"{len(tags)} sidecars of {len(self.images)} images")
        allowed = {name for image in self.images for name in (image.name, f"{image.name}.xmp")}
        return faults + [f"left: {path.name}" for path in self.folder.iterdir() if path.name not in allowed]


class Watching(SidecarWriting):
    """The same by a program that goes on watching, and that tags no image twice."""

    def command(self, _turn: int) -> Sequence[str | Path]:
        self._empty()
        (self.work / "state").unlink(missing_ok=True)
        (self.work / LOG).unlink(missing_ok=True)
        return self._watch()

    def faults(self, _turn: int) -> list[str]:
        if not self.folder.is_dir():
            self._empty()
        before = _tagged(self.work / "log.txt")
        again = Marked(self.work, self._watch(), log_name=LOG)
        until = time.monotonic() + LONG_S
        while time.monotonic() < until and (
            "watching" not in again.output() or len(before | _tagged(again.log)) < len(self.images)
        ):
            time.sleep(0.05)
        send(again.process.pid, STOPPED_BY)
        code = again.wait(LONG_S)
        again.kill()
        faults = [] if code == 0 else [f"did not end by SIGTERM: {code}: {again.tail()}"]
        twice = [name for name, count in (before + _tagged(again.log)).items() if count > 1]
        if len(twice) > 1:  # one may be printed and not be recorded
            faults.append(f"tagged twice: {', '.join(twice)}")
        return faults + self._sidecar_faults()

    def _watch(self) -> Sequence[str | Path]:
        return self._tag("--watch", self.folder, "--xmp", "--interval", "0.1", "--state", self.work / "state")


def _tagged(log: Path) -> Counter[str]:
    """How often each image is in the output."""
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
    whole = [line for line in lines if line.startswith("{") and line.endswith("}\n")]
    return Counter(json.loads(line)["image"] for line in whole)


class Serving:
    """A service that answers one client all the time, always on the same port."""

    def __init__(self, work: Path, bundle: Path) -> None:
        self.work, self.program = work, bundle / "tagger.pyz"
        self.image = one_stage.test_images(bundle.parents[1])[0].read_bytes()
        self.port = free_port()
        self.answers: list[Any] = []
        self.stop = threading.Event()
        self.client = threading.Thread()

    def command(self, _turn: int) -> Sequence[str | Path]:
        return self._serve()

    def _serve(self) -> Sequence[str | Path]:
        self.stop.clear()
        self.client = threading.Thread(target=self._ask_until_stopped, daemon=True)
        self.client.start()
        words = ["serve", "--quiet", "--port", str(self.port), "--engine", "onnxruntime-fp32"]
        return [sys.executable, self.program, *words]

    def faults(self, _turn: int) -> list[str]:
        self._stop_client()
        again = Marked(self.work, self._serve(), log_name=LOG)
        before, until = len(self.answers), time.monotonic() + LONG_S
        while len(self.answers) < before + 3 and again.wait(0.05) is None and time.monotonic() < until:
            pass
        faults = [] if len(self.answers) > before else [f"did not answer again: {again.tail()}"]
        send(again.process.pid, STOPPED_BY)
        if (code := again.wait(LONG_S)) != 0:
            faults.append(f"did not end by SIGTERM: {code}: {again.tail()}")
        again.kill()
        self._stop_client()
        wrong = [answer for answer in self.answers if answer != self.answers[0]]
        return faults + ([f"another answer: {wrong[0]}"] if wrong else [])

    def _stop_client(self) -> None:
        self.stop.set()
        if self.client.ident:
            self.client.join()

    def _ask_until_stopped(self) -> None:
        """Collect the answers that arrive whole; a service that is gone or stops sends none."""
        while not self.stop.is_set():
            try:
                with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONG_S)) as connection:
                    connection.request("POST", "/tag", self.image, {"Content-Type": "image/jpeg"})
                    answer = connection.getresponse()
                    if answer.status != http.HTTPStatus.SERVICE_UNAVAILABLE:
                        self.answers.append((answer.status, json.loads(answer.read())))
            except (OSError, http.client.HTTPException):
                self.stop.wait(0.02)
