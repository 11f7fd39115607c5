"""Training by several processes, as accelerate's launcher and torchrun start them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mlkd.data.augment import Views
from mlkd.losses import Bce, ClassAware, LabelKL, Pkt
from mlkd.models import checkpoint
from mlkd.models.heads import LabelDecoder
from mlkd.models.network import Model
from mlkd.teachers import CheckpointTeacher, cache
from mlkd.training.config import Training
from mlkd.training.trainer import train

# no batch norm, whose statistics are those of a process's own part of the batch, and no dropout
MODEL = Model(
    backbone="test_convnext", image_px=32, head=LabelDecoder(embedding=8, heads=2, feed_forward=8, dropout=0.0)
)
VIEWS = Views(count=1)
LOSSES = (Bce(), LabelKL(), ClassAware(weight=5.0, memory=4), Pkt(weight=1000.0))
SCRIPT = """
import sys
from pathlib import Path
import importlib.util
spec = importlib.util.spec_from_file_location("test_processes", {file!r})
test_processes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(test_processes)
test_processes.student(Path({prepared!r}), Path({outputs!r}), Path({out!r}))
"""


def student(prepared: Path, outputs: Path, out: Path) -> None:
    training = Training(epochs=2, learning_rate=1e-3, batch_size=4, accumulate=2, losses=LOSSES, save_steps=2)
    train(MODEL, training, VIEWS, prepared, out, seed=3, teacher_outputs=outputs)


@pytest.fixture(scope="module")
def outputs(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    teacher, out = tmp_path_factory.mktemp("teacher"), tmp_path_factory.mktemp("outputs")
    train(MODEL, Training(epochs=1, learning_rate=1e-3, batch_size=8), VIEWS, prepared, teacher, seed=0)
    cache.record([CheckpointTeacher(path=teacher)], prepared, VIEWS, out, seed=0)
    return out


def test_two_processes_learn_what_one_does(prepared: Path, outputs: Path, tmp_path: Path) -> None:
    alone, together = tmp_path / "alone", tmp_path / "together"
    alone.mkdir()
    together.mkdir()
    student(prepared, outputs, alone)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(file=__file__, prepared=str(prepared), outputs=str(outputs), out=str(together)))
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[:6000]
    expected, got = (checkpoint.read(out / checkpoint.LAST) for out in (alone, together))
    assert got[1]["step"] == expected[1]["step"] == 6
    for name, value in expected[0].items():
        torch.testing.assert_close(got[0][name], value, rtol=1e-3, atol=3e-5, msg=name)  # sums in another order
    told, alone_told = (json.loads((out / "history.json").read_text()) for out in (together, alone))
    for epoch, other in zip(told, alone_told, strict=True):
        assert epoch["losses"] == pytest.approx(other["losses"], rel=1e-3)
