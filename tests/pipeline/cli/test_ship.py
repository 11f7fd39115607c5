"""A bundle shipped to a device behind a real OpenSSH server and to this machine, and brought back."""

import re
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.remote import Device, DeviceEntry, DeviceError, Ssh, parallel
from export.bundle.bundle import read_bundle
from export.tagger.installing import install
from pipeline.__main__ import main
from pipeline.cli import ship as shipping
from pipeline.cli.ship import Shipped, on_all, table
from pipeline.cli.signing import write_keys, write_signature
from pipeline.cli.stages import publish
from pipeline.runner import result
from tests.helpers import bundles, sshd


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sshd.bare_python(tmp_path_factory.mktemp("bare") / "python")


@pytest.fixture
def installed(
    server: sshd.Server, python: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Where a board has colours installed; in dist/colours it has a card; another device is off."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parallel, "Ssh", partial(Ssh, command=server.command, wait_s=0.01))
    Path("card.md").write_text("a card")
    bundles.changed(colours, Path("dist/colours"), {"card.md": Path("card.md")})
    Path("devices.yaml").write_text(f"""devices:
  - {{name: a board, host: board, python: {python}, folder: {tmp_path}/store, install: {tmp_path}/board, retries: 0}}
  - {{name: Chromium here, kind: browser}}
  - {{name: lost, host: 127.0.0.1, port: 1, folder: {tmp_path}/lost, install: {tmp_path}/lost, retries: 0}}
""")
    install(colours, tmp_path / "board", check=lambda *_: None)
    return tmp_path / "board"


def cells(text: str) -> list[list[str]]:
    """The table's columns."""
    return [re.split(" {2,}", line, maxsplit=3) for line in text.splitlines()]


@pytest.mark.slow
def test_who_runs_what(installed: Path, colours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = ((bundle / "manifest.sha256").read_text()[:12] for bundle in (colours, Path("dist/colours")))
    assert main(["ship", "colours", "--devices", "devices.yaml"]) == 1  # one was lost
    (signed,), head, board, lost = cells(capsys.readouterr().out)
    assert (signed, head) == ("dist/colours: unsigned", ["device", "version", "was", "engine"])
    assert board[:3] == ["a board", new, old]
    assert board[3].startswith("onnxruntime-fp32: ")
    assert lost[:2] == ["lost", "-"]
    assert lost[2].startswith("FAILED: lost: connection to 127.0.0.1: expected one that holds, got: ")
    assert (installed / "current/card.md").read_text() == "a card"
    assert (installed / "current/tagger.pyz").samefile(installed / "previous/tagger.pyz")
    assert main(["ship", "--rollback", "--devices", "devices.yaml"]) == 1
    _, board, lost = cells(capsys.readouterr().out)
    assert board[:3] == ["a board", old, new]
    assert board[3].startswith("onnxruntime-fp32: ")
    assert lost[2].startswith("FAILED: lost: ")
    assert not (installed / "current/card.md").exists()


def test_a_list_of_browsers_alone_is_refused(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("devices.yaml").write_text("devices: [{name: Chromium here, kind: browser}]\n")
    assert main(["ship", str(colours), "--devices", "devices.yaml"]) == 2
    assert "devices.yaml: expected a device to install on, got none but browsers" in capsys.readouterr().err


def test_there_may_be_nothing_to_go_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("devices.yaml").write_text(f"devices: [{{name: here, install: {tmp_path}/new}}]\n")
    assert main(["ship", "--rollback", "--devices", "devices.yaml"]) == 1
    told = f"FAILED: expected a previous version in {tmp_path}/new to go back to, got: "
    assert told in capsys.readouterr().out


@pytest.fixture
def ship_signed(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Path, Path]:
    """A command that ships what is signed to this machine, and the two keys."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(colours, Path("dist/colours"))
    Path("devices.yaml").write_text(f"devices: [{{name: here, install: {tmp_path}/here}}]")
    private, public = write_keys(Path("key"))
    return ["ship", "colours", "--devices", "devices.yaml", "--require-signature", str(public)], private, public


def test_what_is_not_signed_is_refused_before_any_device_is_asked(
    ship_signed: tuple[list[str], Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(ship_signed[0]) == 2
    assert "dist/colours/manifest.sig: expected a signature by key.pub, got none" in capsys.readouterr().err
    assert not Path("here").exists()


@pytest.mark.slow
def test_what_is_signed_is_shipped(
    ship_signed: tuple[list[str], Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command, private, public = ship_signed
    write_signature(Path("dist/colours"), private)
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("dist/colours: signed, checked with key.pub\n")
    read_bundle(Path("here/current"), key=public)


def test_publishing_an_equal_bundle_again_keeps_its_signature_and_mends_it(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = {"bundle": SimpleNamespace(content="of today"), "report": None}
    monkeypatch.setattr(result, "read", lambda folder: done[folder.name])
    run, dist = tmp_path / "colours", tmp_path / "dist/colours"
    shutil.copytree(colours, run / "bundle/bundle")
    private, public = write_keys(tmp_path / "key")
    publish(run, dist)
    write_signature(dist, private)
    publish(run, dist)
    read_bundle(dist, key=public)
    (dist / "tagger.pyz").write_text("damaged")
    (dist / "models/fp32.onnx").unlink()
    publish(run, dist)
    read_bundle(dist, key=public)
    (tmp_path / "card.md").write_text("a card")
    bundles.changed(colours, run / "bundle/bundle", {"card.md": tmp_path / "card.md"})
    publish(run, dist)
    assert (dist / "card.md").exists()
    assert not (dist / "manifest.sig").exists()  # it was another bundle's


TELLING = """import json, pathlib, sys
with pathlib.Path({log!r}).open("a") as log: log.write(" ".join(sys.argv[1:]) + "\\n")
print(json.dumps({{"version": "new", "was": None, "chosen": {{"engine": "tensorrt", "why": "built here"}}}}))
"""


@pytest.mark.parametrize("rebuild", [True, False])
def test_engines_are_built_there_before_the_self_test_if_that_is_asked_for(tmp_path: Path, rebuild: bool) -> None:
    (tmp_path / "to/current").mkdir(parents=True)
    for file in (tmp_path / "program", tmp_path / "to/current/tagger.pyz"):
        file.write_text(TELLING.format(log=str(tmp_path / "log")))
    plain = bundles.write_plain(tmp_path / "plain", tmp_path / "model")
    bundle = bundles.changed(plain, tmp_path / "bundle", {"tagger.pyz": tmp_path / "program"})
    (found,) = on_all(
        [DeviceEntry(name="orin", install=f"{tmp_path}/to", rebuild=rebuild)], partial(shipping.install, bundle)
    )
    assert found == Shipped(device="orin", version="new", engine="tensorrt", reason="built here")
    built = ["info --rebuild --json"] if rebuild else []
    asked = [*built, f"install --to {tmp_path}/to --json", "info --json"]
    assert (tmp_path / "log").read_text().splitlines() == asked


def shipped(device: Device) -> Shipped:
    """Or what may happen instead."""
    faults: dict[str, BaseException] = {"known": DeviceError("known: it is off"), "unknown": KeyError("chosen")}
    if device.entry.name in faults:
        raise faults[device.entry.name]
    return Shipped(device=device.entry.name, version="0123456789abcdef", engine="onnxruntime", reason="it is fast")


def test_one_that_fails_is_a_line(caplog: pytest.LogCaptureFixture) -> None:
    found = on_all([DeviceEntry(name=name) for name in ("known", "well", "unknown")], shipped)
    assert cells(table(found)) == [
        ["device", "version", "was", "engine"],
        ["known", "-", "FAILED: known: it is off"],
        ["well", "0123456789ab", "-", "onnxruntime: it is fast"],
        ["unknown", "-", "FAILED: KeyError('chosen')"],
    ]
    assert [record.exc_info is not None for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("folder", "home"), [("edge-tagger", "~/edge-tagger"), ("~/a", "~/a"), ("/opt/tagger", "/opt/tagger")]
)
def test_a_folder_is_below_home_unless_it_is_absolute(folder: str, home: str) -> None:
    assert shipping._home(DeviceEntry(name="here", install=folder)) == home
