"""`python -m pipeline ship`: a bundle installed on the devices of a list, several at once, and who runs what."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import Device, DeviceEntry, DeviceError, open_device, run_on_all
from export.bundle import signature
from export.bundle.bundle import PROGRAM, read_bundle
from export.errors import BundleError
from pipeline.cli.options import DIST
from pipeline.cli.signing import find

log = logging.getLogger(__name__)

SHOWN = 12  # digits of a version


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """What a device runs now and ran before, or why that is not known."""

    device: str
    version: str = ""
    was: str = ""
    engine: str = ""
    reason: str = ""  # why that engine
    failure: str = ""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("bundle", nargs="?", default="scenes", metavar="RECIPE|FOLDER", help="default: scenes")
    parser.add_argument("--devices", type=Path, required=True, metavar="FILE", help="devices.yaml: where to install")
    parser.add_argument("--rollback", action="store_true", help="back to the version before, on each of them")
    parser.add_argument("--require-signature", type=Path, metavar="KEY", help="ship only what this public key signed")


def run(options: argparse.Namespace) -> int:
    """Install the bundle of a recipe on every device of a list, and say who runs what."""
    from pipeline.recipe.device_list import read_device_list

    entries = [entry for entry in read_device_list(options.devices).devices if entry.kind != "browser"]
    if not entries:
        raise ValueError(f"{options.devices}: expected a device to install on, got none but browsers; add one")
    key = options.require_signature
    if options.rollback:
        work = partial(roll_back, key=key)
    else:
        folder = find(options.bundle, DIST)
        read_bundle(folder, key=key)
        print(f"{folder}: {signature.state(folder, key)}")
        work = partial(install, folder, key=key)
    results = on_all(entries, work)
    print(table(results))
    return 1 if any(result.failure for result in results) else 0


def install(bundle: Path, device: Device, *, key: Path | None = None) -> Shipped:
    """Bring the bundle to the device, and let it verify, self-test and switch to it there."""
    run = device.place(bundle)
    if device.entry.rebuild:  # else nothing may run where the self-test looks
        run("info", "--rebuild", "--json")
    return _result(device, run("install", *_options(device, key)))


def roll_back(device: Device, *, key: Path | None = None) -> Shipped:
    """Let the version before, which ran well, take over again."""
    home = _home(device.entry)
    try:
        answer = device.program(f"{home}/previous/{PROGRAM}")("rollback", *_options(device, key))
    except ProcessFailedError as cause:
        step = "without one, ship without --rollback"
        raise ProcessFailedError(f"expected a previous version in {home} to go back to, got: {cause}; {step}") from None
    return _result(device, answer)


def on_all(entries: Sequence[DeviceEntry], work: Callable[[Device], Shipped]) -> list[Shipped]:
    """The result of every device, in their order; one that fails stops no other."""
    return run_on_all(list(map(open_device, entries)), partial(_attempt, work))


def table(results: Sequence[Shipped]) -> str:
    """One line a device."""
    rows = [("device", "version", "was", "engine")]
    for result in results:
        engine = f"FAILED: {result.failure}" if result.failure else f"{result.engine}: {result.reason}"
        rows.append((result.device, result.version[:SHOWN], result.was[:SHOWN] or "-", engine))
    first, second, third = (max(len(row[column]) for row in rows) for column in range(3))
    return "\n".join(f"{row[0]:{first}}  {row[1]:{second}}  {row[2]:{third}}  {row[3]}" for row in rows)


def _attempt(work: Callable[[Device], Shipped], device: Device) -> Shipped:
    try:
        return work(device)
    except Exception as cause:
        known = isinstance(cause, (DeviceError, ProcessFailedError, BundleError, OSError))
        if not known:
            log.warning("%s", device.entry.name, exc_info=True)
        return Shipped(device=device.entry.name, failure=str(cause) if known else repr(cause))


def _result(device: Device, answer: object) -> Shipped:
    """What the device runs now, and which engine it takes."""
    chosen = device.program(f"{_home(device.entry)}/current/{PROGRAM}")("info", "--json")["chosen"]
    assert isinstance(answer, dict)
    return Shipped(
        device=device.entry.name,
        version=str(answer["version"]),
        was=str(answer["was"] or ""),
        engine=str(chosen["engine"]),
        reason=str(chosen["why"]),
    )


def _options(device: Device, key: Path | None) -> list[str]:
    signed = [] if key is None else ["--require-signature", device.copy_file(key)]
    return ["--to", _home(device.entry), "--json", *signed]


def _home(entry: DeviceEntry) -> str:
    """The folder of the installation, for a program that runs there."""
    return entry.install if entry.install.startswith(("/", "~")) else f"~/{entry.install}"
