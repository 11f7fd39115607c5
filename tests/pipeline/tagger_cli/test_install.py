"""`tagger.pyz install` and `rollback`, with the self-test of the bundle's own program."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export.bundle.bundle import read_bundle
from export.errors import BundleError
from export.tagger.selftest_process import self_test
from pipeline.cli.signing import write_keys, write_signature
from pipeline.tagger_cli import main
from tests.helpers import bundles


@pytest.fixture(scope="module")
def newer(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a card."""
    work = tmp_path_factory.mktemp("newer")
    (work / "card.md").write_text("a card")
    return bundles.changed(colours, work / "bundle", {"card.md": work / "card.md"})


@pytest.fixture(scope="module")
def wrong(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its engine gives other scores than where it was made."""
    work = tmp_path_factory.mktemp("wrong")
    with np.load(colours / "golden/expected.npz", allow_pickle=False) as arrays:
        made = {name: arrays[name] / 2 if name.startswith("scores:") else arrays[name] for name in arrays.files}
    np.savez_compressed(work / "expected.npz", **made)
    return bundles.changed(colours, work / "bundle", {"golden/expected.npz": work / "expected.npz"})


def test_a_bundle_is_installed_replaced_and_brought_back(
    colours: Path, newer: Path, wrong: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to, current = tmp_path / "to", tmp_path / "to/current"
    first, second = ((bundle / "manifest.sha256").read_text()[:32] for bundle in (colours, newer))
    command = [sys.executable, str(colours / "tagger.pyz"), "install", "--to", "to"]  # itself
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    count = len(read_bundle(colours).files)
    assert ended.stdout == f"to/current: {first}: installed, {count} files copied, 0 shared with the previous version\n"
    assert main(["install", str(wrong), "--to", str(to)]) == 2
    said, errors = capsys.readouterr()
    assert said == ""
    assert errors.startswith("tagger: self-test: expected the bundle to pass on this device, got: self-test: FAILED")
    assert "engine (onnxruntime-fp32)" in errors
    read_bundle(current)
    assert main(["install", str(newer), "--to", str(to)]) == 0
    shared = f"{count} shared with the previous version"
    assert capsys.readouterr().out == f"{current}: {second} (was {first}): installed, 1 files copied, {shared}\n"
    assert main(["install", str(newer), "--to", str(to), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"version": second, "was": second, "copied": 0, "shared": 0}
    assert main(["install", str(newer), "--to", str(to)]) == 0
    assert capsys.readouterr().out == f"{current}: {second}: installed before, nothing copied\n"
    assert main(["rollback", "--to", str(to)]) == 0
    assert capsys.readouterr().out == f"{current}: {first} (was {second}): rolled back\n"


def test_only_what_is_signed_is_installed(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # the self-test runs in another folder, and finds the key all the same
    private, public = write_keys(Path("key"))
    signed = shutil.copytree(colours, Path("signed"))
    install = ["install", "signed", "--to", "to", "--require-signature", str(public)]
    assert main(install) == 2
    assert "signed/manifest.sig: expected a signature by key.pub, got none" in capsys.readouterr().err
    assert not Path("to").exists()
    write_signature(signed, private)
    assert main(install) == 0
    read_bundle(Path("to/current"), key=public)
    assert main(["rollback", "--to", "to"]) == 2
    assert "to: expected a previous version to go back to, got none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "got"),
    [
        ("import sys; sys.exit('no\\nnumpy')", "numpy"),
        ("import os; os.abort()", "exit code -6"),
        ("print('first'); print('last'); raise SystemExit(1)", "last"),
        ("import time; time.sleep(60)", "no answer within 1 s"),
    ],
)
def test_a_program_that_ends_badly_is_not_switched_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str, got: str
) -> None:
    monkeypatch.setattr("export.tagger.selftest_process.TIMEOUT_S", 1.0 if "sleep" in program else 60.0)
    (tmp_path / "program").write_text(program)
    plain = bundles.write_plain(tmp_path / "plain", tmp_path / "model")
    broken = bundles.changed(plain, tmp_path / "broken", {"tagger.pyz": tmp_path / "program"})
    assert main(["install", str(broken), "--to", str(tmp_path / "to")]) == 2
    said = f"expected the bundle to pass on this device, got: {got}; the current version stays"
    assert said in capsys.readouterr().err
    assert list((tmp_path / "to/versions").iterdir()) == []


def test_a_damaged_version_is_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "program").write_text("")  # a self-test that passes
    plain = bundles.write_plain(tmp_path / "plain", tmp_path / "model")
    bundle = bundles.changed(plain, tmp_path / "bundle", {"tagger.pyz": tmp_path / "program"})
    to = tmp_path / "to"
    assert main(["install", str(bundle), "--to", str(to)]) == 0
    (to / "current/tagger.pyz").write_text("another")
    assert main(["install", str(bundle), "--to", str(to)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    count = len(read_bundle(to / "current").files)
    assert first.endswith(f": installed, {count} files copied, 0 shared with the previous version")
    assert second.endswith(f": installed, 1 files copied, {count - 1} shared with the previous version")


def test_the_self_test_is_of_this_program_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable that steers Python and no file of the current folder changes it."""
    (tmp_path / "program").write_text(
        "import os, sys\nsys.exit(' '.join([*sys.argv[1:], *filter(os.environ.get, ['PYTHONWARNINGS']), os.getcwd()]))"
    )
    plain = bundles.write_plain(tmp_path / "plain", tmp_path / "model")
    telling = bundles.changed(plain, tmp_path / "telling", {"tagger.pyz": tmp_path / "program"})
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    with pytest.raises(
        BundleError, match=r"got: selftest --any-engine --require-signature /nowhere/key /; the current"
    ):
        self_test(telling, Path("/nowhere/key"))
