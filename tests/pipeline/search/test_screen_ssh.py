"""A screen on this machine and on a device over ssh."""

import json
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.search import stages
from pipeline.search.rows import read_screen
from tests.helpers import emulation, sshd
from tests.helpers.drawings import with_search


@pytest.mark.slow
@pytest.mark.usefixtures("ssh", "load_in_process")
def test_a_candidate_is_timed_over_ssh(
    drawn: Path, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With this machine; one that does not answer stops the search."""
    python = sshd.bare_python(tmp_path / "bare")
    board = {"name": "pi", "host": "board", "python": str(python), "folder": str(tmp_path / "store"), "retries": 0}
    (place / "devices.yaml").write_text(json.dumps({"devices": [board]}))
    students = "{backbone: test_resnet, image_px: 40, head: {kind: pooled}}"
    recipe = with_search(drawn, f"max_p90_ms: 1000, devices: [this machine, pi], students: {students}")
    (place / "tiny.yaml").write_text(recipe)
    assert main(["search", "--recipe", "tiny.yaml", "--devices", "devices.yaml"]) == 0
    assert "1 of 1 candidates keep the budget" in capsys.readouterr().out
    here, there = read_screen(place / "runs/tiny.search" / stages.RESULT).rows
    assert (here.device, there.device) == ("this machine", "pi")
    assert there.megabytes == here.megabytes
    assert there.end_to_end_ms is not None
    (place / "devices.yaml").write_text(json.dumps({"devices": [board | {"host": "no-such-host.invalid"}]}))
    assert main(["search", "--recipe", "tiny.yaml", "--devices", "devices.yaml"]) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "stage times: " in error
    assert "expected a name that can be resolved" in error


@pytest.mark.slow
@pytest.mark.usefixtures("ssh", "load_in_process")
def test_a_candidate_is_timed_on_emulated_arm(drawn: Path, place: Path, tmp_path: Path) -> None:
    """A Raspberry Pi 5 with every engine that the screen builds, the signed one of ARM included."""
    reason = emulation.unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nARM_CPU=cortex-a76 exec {emulation.arm_python()} "$@"\n')
    python.chmod(0o755)
    board = {"name": "Pi 5", "host": "board", "python": str(python), "folder": str(tmp_path / "store"), "retries": 0}
    (place / "devices.yaml").write_text(json.dumps({"devices": [board]}))
    students = "{backbone: test_resnet, image_px: 40, head: {kind: pooled}}"
    signed = "{name: onnxruntime-int8-signed, precision: int8, backend: {kind: onnxruntime}}"
    recipe = with_search(drawn, f"max_p90_ms: 100000, devices: [Pi 5], students: {students}")
    (place / "tiny.yaml").write_text(recipe.replace("engines: [", f"engines: [{signed}, "))
    assert main(["search", "--recipe", "tiny.yaml", "--devices", "devices.yaml"]) == 0
    screen = read_screen(place / "runs/tiny.search" / stages.RESULT)
    assert all(verdict.kept for verdict in screen.verdicts)
    assert {(row.device, row.engine) for row in screen.rows} >= {("Pi 5", "onnxruntime-int8-signed")}
    assert all(row.end_to_end_ms is not None for row in screen.rows), [row.reason for row in screen.rows]
