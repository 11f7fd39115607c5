import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import agreement
from tests.helpers import bundles

FACTS: dict[str, Any] = {
    "benchmark_app_ms": 1.0, "ours_ms": 1.01, "python_us": 9.6, "difference": 0.01, "limit": 0.05, "agrees": True,
    "rounds": 5, "engine": "openvino a.xml", "null_error_us": 1.2, "null_ok": True,
}  # fmt: skip


@pytest.mark.parametrize(("slower", "agrees"), [(1.04, True), (1.06, False), (0.94, False), (0.96, True)])
def test_all_samples_are_compared_in_their_deciles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, slower: float, agrees: bool
) -> None:
    """The machine has two speeds; by chance ours meets the slow one a little more often than theirs."""
    inside = np.array([slower] * 98 + [5 * slower] * 102)
    theirs = [1.0] * 102 + [5.0] * 98
    rounds = iter([(inside + 0.2, inside, theirs), ([900.0], [899.8], [1.0])])
    monkeypatch.setattr(agreement, "take_turns", lambda *_: next(rounds))
    monkeypatch.setattr(agreement.machine, "pin", lambda threads: None)
    found = agreement.compare(bundles.write_onnx(tmp_path / "a.onnx"), 1, rounds=2)
    assert found["difference"] == pytest.approx(slower - 1)
    assert found["agrees"] is agrees
    assert (found["benchmark_app_ms"], found["ours_ms"]) == (1, 5 * slower + 0.2)
    assert found["python_us"] == pytest.approx(200)  # shown apart: whatever it is, OpenVINO agrees with itself
    assert set(found) == set(FACTS)


def clock(step_ns: int) -> Callable[[], int]:
    """One that moves so far at every reading."""
    readings = itertools.count(0, step_ns)
    return lambda: next(readings)


def test_the_null_engine_tells_how_far_the_harness_is_off() -> None:
    good, bad = (agreement.null_errors_us([0.5, 2.0], 20, clock(step_ns)) for step_ns in (1_000, 40_000))
    assert max(good.values()) < 5
    assert min(bad.values()) > agreement.NULL_US


@pytest.mark.parametrize(
    ("off_us", "right"), [({0.5: 19, 2.0: 19}, True), ({0.5: 21, 2.0: 0}, False), ({5.0: 49}, True)]
)
def test_the_null_engine_is_right_to_one_percent_or_20_us(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, off_us: dict[float, float], right: bool
) -> None:
    monkeypatch.setattr(agreement, "take_turns", lambda *_: ([1.0], [1.0], [1.0]))
    monkeypatch.setattr(agreement.machine, "pin", lambda threads: None)
    monkeypatch.setattr(agreement, "null_errors_us", lambda waits: off_us)
    found = agreement.compare(bundles.write_onnx(tmp_path / "a.onnx"), 1, rounds=1)
    assert found["null_ok"] is right


@pytest.mark.parametrize(
    ("changes", "code", "word"),
    [({}, 0, "agree within 5%"), ({"agrees": False}, 1, "do NOT agree"), ({"null_ok": False}, 1, "WRONG")],
)
def test_the_command_prints_both_and_fails_where_they_differ(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], code: int, word: str
) -> None:
    monkeypatch.setattr(agreement, "compare", lambda model, threads: FACTS | changes)
    assert agreement.main(["a.xml"]) == code
    line = capsys.readouterr().out
    assert "benchmark_app 1.000 ms, ours 1.010 ms, of which Python and copies 10 µs; by OpenVINO's clock +1.0%" in line
    assert word in line
    assert agreement.main(["a.xml", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == FACTS | changes


def test_a_stopped_process_stands_still_until_it_goes_on() -> None:
    code = "import time\nfor _ in range(60_000): print(1, flush=True); time.sleep(0.001)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert agreement.stop(process)
            assert Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "T"
        finally:
            process.kill()
        deadline = time.monotonic() + 10
        while agreement.stop(process):
            assert time.monotonic() < deadline
    assert not agreement.stop(process)


@pytest.mark.slow
def test_benchmark_app_really_runs_and_both_are_told(tmp_path: Path) -> None:
    model = bundles.write_onnx(tmp_path / "a.onnx")
    with agreement.OpenVino(threads=1).open_graph(model) as session:
        application = agreement.Application(model, agreement.OpenVino(threads=1), session.image)
        ours, inside, theirs = agreement.take_turns(application, session, 1.0)
    assert len(ours) == len(inside)
    assert all(0 <= part < whole for part, whole in zip(inside, ours, strict=True))
    assert 0 < sorted(theirs)[len(theirs) // 2] < 1000
    assert 0 < sorted(ours)[len(ours) // 2] < 1000
    unknown = agreement.Application(tmp_path / "b.onnx", agreement.OpenVino(), (16, 16, 3))
    with (
        pytest.raises(agreement.AgreementError, match=r"benchmark_app: expected it to measure .*b\.onnx, got"),
        unknown.start(1.0),
    ):
        pass
