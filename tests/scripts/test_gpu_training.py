from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mlkd.losses.base import LossInputs
from mlkd.models.heads import LabelDecoder
from mlkd.models.outputs import Outputs
from scripts import gpu_training
from scripts.speed import direct
from scripts.speed.trial import Clock

TINY = ["--images", "8", "--batch", "4", "--epochs", "3", "--px", "32", "--backbone", "test_resnet"]


@pytest.mark.slow
def test_every_way_of_training_has_a_line_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_training, "HEAD", LabelDecoder(embedding=8, heads=2, feed_forward=8))
    monkeypatch.setattr(gpu_training, "LABELS", 6)
    for module in ("mlkd.teachers.record", "mlkd.training.batches", "scripts.gpu_training"):
        monkeypatch.setattr(f"{module}.workers", lambda **_: 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gpu_training.main([*TINY, "--teacher", "test_resnet"])
    title, _, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith("test_resnet at 32 px, batches of 4, ")
    names = ["plain loop", "student without a teacher", "distilled"]
    assert [line[:26].strip() for line in lines][:3] == names
    rates = [float(line[26:36]) for line in lines]
    assert min(rates) > 0
    for line, rate in zip(lines, rates, strict=True):
        assert float(line[50:64]) == pytest.approx(rate / rates[0], rel=0.05, abs=0.01)
    assert not list(tmp_path.iterdir())


def test_too_few_images_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu_training.main(["--images", "300"])
    assert re.search("expected at least . epochs of 2 batches, got 3 of 300 images", capsys.readouterr().err)


def test_the_direct_losses_are_those_of_the_project() -> None:
    torch.manual_seed(0)
    student, teacher = (Outputs(torch.randn(64, 5), torch.randn(64, 5, 8)) for _ in range(2))
    inputs = LossInputs(student, teacher, (torch.rand(64, 5) < 0.5).float())
    ours = sum(loss.weight * loss.value(inputs) for loss in gpu_training.PUBLISHED)
    torch.testing.assert_close(direct.total(student, teacher, inputs.targets), ours, rtol=1e-4, atol=1e-4)


def test_overlapping_kernels_count_once() -> None:
    assert gpu_training.covered([(5, 6), (0, 2), (1, 3), (1.5, 1.6)]) == 4
    assert gpu_training.covered([]) == 0


def test_the_share_is_of_kernels_in_the_profiled_time() -> None:
    events = [("kernel", 0, 4e5), ("kernel", 3e5, 2e5), ("gpu_memcpy", 6e5, 9e5), ("gpu_user_annotation", 0, 2e6)]
    trace = {"traceEvents": [{"cat": cat, "ts": ts, "dur": dur} for cat, ts, dur in events] + [{"ph": "M"}]}
    clock = Clock(3, SimpleNamespace(export_chrome_trace=lambda file: Path(file).write_text(json.dumps(trace))))
    clock.profiled_s = 2.0
    assert gpu_training.computing(clock) == "25%"
    assert gpu_training.computing(Clock(3)) == "-"


def test_the_clock_leaves_out_the_first_epoch_and_what_is_between_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of six steps, 1 s apart, with 10 s before each epoch; the third epoch is profiled."""
    now, calls = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    recording = SimpleNamespace(start=lambda: calls.append(now[0]), stop=lambda: calls.append(now[0]))
    clock = Clock(3, recording)
    for step in range(18):
        now[0] += 10 if step % 6 == 0 else 1
        clock("steps", step + 1, 18)
        clock("teacher outputs", 1, 1)
    assert clock.seconds == [1.0] * 5
    assert clock.images_per_s(4) == 4
    assert calls == [10 * 3 + 5 * 2, 10 * 3 + 5 * 3]
    assert clock.profiled_s == 5
