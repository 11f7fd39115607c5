"""The process in which a thorough bench checks its clock, and an installation that cannot do so."""

import time
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.report_facts import agreement


def test_the_facts_are_what_the_script_prints_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script, model = tmp_path / "script.py", tmp_path / "a.xml"
    script.write_text("import json, sys\nprint('a warning')\nprint(json.dumps({'arguments': sys.argv[1:]}))\n")
    monkeypatch.setattr(agreement, "SCRIPT", script)
    assert agreement.run_script(model, 2) == {"arguments": [str(model), "--threads", "2", "--json"]}


def test_a_model_that_benchmark_app_cannot_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(agreement.AgreementError, match=r"nothing\.xml"):
        agreement.run_script(tmp_path / "nothing.xml", 1)


def test_a_check_that_takes_too_long_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {child}.new\nmv {child}.new {child}\nkill -STOP $!\nwait\n")
    program.chmod(0o755)
    monkeypatch.setattr(agreement.sys, "executable", str(program))
    with pytest.raises(agreement.AgreementError, match="no result within 2 s"):
        agreement.run_script(tmp_path / "a.xml", 1, timeout_s=2)
    stat = Path(f"/proc/{child.read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z":  # nobody may be there to reap it
        assert time.monotonic() < deadline


def test_without_a_checkout_thorough_stops_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(agreement, "SCRIPT", tmp_path / "scripts/agreement.py")
    with pytest.raises(ValueError, match="file not found"):
        agreement.run_script(tmp_path / "a.xml", 1)
    assert main(["plan", "--thorough"]) == 2
    message = capsys.readouterr().err
    assert f"{agreement.SCRIPT}: file not found" in message
    assert "Run the command in a checkout, or without --thorough." in message
