"""Bundles of others: a hostile one has the right hashes, so its manifest's own are written anew."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shutil
from pathlib import Path

from export.backends import OnnxRuntime, stamp
from export.bundle import signature
from export.bundle.bundle import DIGEST, MANIFEST, PROGRAM, SIGNATURE, Parts, read_bundle, write_bundle
from export.bundle.golden import Golden
from export.errors import BundleError, MissingRuntimeError, NoEngineError
from export.tagger.engine_choice import choose
from scripts.torture.doors.door import lasting, unwatched
from tests.helpers import bundles


@functools.cache
def plain() -> Path:
    """A bundle whose files are only bytes, the program too, so that they are the same for every version."""
    with unwatched():
        folder = lasting()
        model = folder / "model"
        model.write_bytes(b"model bytes")
        entry = bundles.engine("onnxruntime-fp32", OnnxRuntime(), ("models/fp32.onnx",), model)
        names = ("models/fp32.onnx", "card.md", "golden/1.png", "golden/expected.npz", PROGRAM)
        write_bundle(Parts(manifest=bundles.manifest(entry), sources=dict.fromkeys(names, model)), folder / "bundle")
        return folder / "bundle"


@functools.cache
def colours() -> Path:
    """A bundle that tags."""
    with unwatched():
        folder = lasting()
        return bundles.write_colours(folder / "colours", folder / "work")


def manifest(content: bytes, folder: Path) -> None:
    """manifest.json; if it is accepted, an engine is chosen by it."""
    bundle = folder / "bundle"
    shutil.copytree(plain(), bundle)
    (bundle / MANIFEST).write_bytes(content)
    (bundle / DIGEST).write_text(f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n")
    read = read_bundle(bundle)
    with contextlib.suppress(NoEngineError, MissingRuntimeError):
        choose(read)
    assert isinstance(read.aim, dict)
    for engine in read.engines:
        assert (folder / f"{engine.name}.npy").resolve().parent == folder.resolve(), f"{engine.name!r} leads outside"


def golden(content: bytes, folder: Path) -> None:
    """golden/expected.npz."""
    read = read_bundle(colours(), verify=False)
    (folder / read.golden_expected).parent.mkdir(parents=True)
    (folder / read.golden_expected).write_bytes(content)
    Golden.read(folder, read)


def engine_stamp(content: bytes, folder: Path) -> None:
    """The stamp beside an engine, and the precision in a graph."""
    (folder / "fp32.onnx").write_bytes(content)
    (folder / "fp32.onnx.stamp.json").write_bytes(content)
    assert stamp.precision_of(folder / "fp32.onnx")
    stamp.read(folder / "fp32.onnx")


def signed(content: bytes, folder: Path) -> None:
    """manifest.sig, and a public key."""
    first, _, second = content.partition(b"\n====\n")
    (folder / MANIFEST).write_bytes(b"{}")
    (folder / SIGNATURE).write_bytes(first)
    (folder / "key.pub").write_bytes(second)
    signature.state(folder)
    with contextlib.suppress(BundleError):
        signature.verify(folder, folder / "key.pub")
        raise AssertionError("a signature of nobody was accepted")
