"""A device behind a real OpenSSH server, with a Python that finds numpy, Pillow and one runtime; a made-up ssh."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.remote import DeviceEntry, Ssh
from export.backends import OnnxRuntime
from export.bundle.bundle import Parts, write_bundle
from tests.helpers import bundles, sshd

PROGRAM = """import json, os, pathlib, sys, time
what, *rest = sys.argv[1:]
if what == "say": print(json.dumps({"said": rest, "folder": os.getcwd(),
    "python": {name: value for name, value in os.environ.items() if name.startswith("PYTHON")}}))
if what == "fail": sys.exit("first\\nlast \\033[2Jwords")
if what == "wait":
    file, times = pathlib.Path(rest[0]), int(rest[1])
    with file.open("a") as pids: pids.write(f"{os.getpid()}\\n")
    if len(file.read_text().splitlines()) <= times: time.sleep(50)
    print("{}")
"""


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sshd.bare_python(tmp_path_factory.mktemp("bare") / "python")


@pytest.fixture(scope="session")
def program(bundle: Path) -> str:
    """Its program, as if it had been placed."""
    return str(bundle / "tagger.pyz")


@pytest.fixture
def board(server: sshd.Server, python: Path, tmp_path: Path) -> Iterator[Callable[..., Ssh]]:
    """Makes the device; its store is in the test's folder."""
    made = []

    def board(command: tuple[str, ...] | None = None, **changes: Any) -> Ssh:
        entry = {"name": "pi", "host": "board", "python": str(python), "folder": str(tmp_path / "store"), "retries": 0}
        made.append(Ssh(DeviceEntry(**(entry | changes)), command=command or server.command, wait_s=0.01))
        return made[-1]

    yield board
    for device in made:
        device.close()


@pytest.fixture
def scripted(tmp_path: Path) -> Callable[..., Ssh]:
    """Makes a device whose ssh is a shell script."""

    def scripted(script: str, **changes: Any) -> Ssh:
        file = tmp_path / "ssh"
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)
        entry = {"name": "pi", "host": "board", "retries": 1, "folder": str(tmp_path / "store")}
        return Ssh(DeviceEntry(**(entry | changes)), command=(str(file),), wait_s=0.01)

    return scripted


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose program does what these tests want."""
    folder = tmp_path_factory.mktemp("bundle")
    for name, content in {"program": PROGRAM, "model": "model bytes", "card": "a card", "golden": "an image"}.items():
        (folder / name).write_text(content)
    entry = bundles.engine("onnxruntime-fp32", OnnxRuntime(), ("models/fp32.onnx",), folder / "model")
    sources = {"tagger.pyz": folder / "program", "models/fp32.onnx": folder / "model", "card.md": folder / "card"}
    sources |= dict.fromkeys(("golden/1.png", "golden/expected.npz"), folder / "golden")
    write_bundle(Parts(manifest=bundles.manifest(entry), sources=sources), folder / "bundle")
    return folder / "bundle"
