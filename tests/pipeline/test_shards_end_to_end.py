"""Two processes of torchrun distil from 50 shards; killed and rerun, they end with the same weights."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlkd.core.files import sha256_of
from mlkd.data.prepared import read_split
from tests.helpers import commands, drawings

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            [*LAUNCH, "-m", "pipeline", "distill", "--recipe", "tiny.yaml"], cwd=folder, stdout=log, stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(commands.REPOSITORY)}, start_new_session=True,
        )  # fmt: skip


def descendants(process: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False).stdout
    children = [int(line) for line in found.split()]
    return [each for child in children for each in (child, *descendants(child))]


def kill_when(folder: Path, file: str) -> None:
    """Kill all processes of a launch as soon as a file exists below the results."""
    launched = start(folder)
    while launched.poll() is None and not list(folder.glob(f"runs/tiny/{file}")):
        time.sleep(0.01)
    assert launched.poll() is None, (folder / "log.txt").read_text()
    for process in [launched.pid, *descendants(launched.pid)]:  # torchrun gives each process a session of its own
        os.kill(process, signal.SIGKILL)
    launched.wait()


def finish(folder: Path) -> str:
    code = start(folder).wait(600)
    log = (folder / "log.txt").read_text()
    assert code == 0, log
    return log


@pytest.fixture(scope="module")
def base(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shards and a recipe that reads them."""
    folder = tmp_path_factory.mktemp("base")
    recipe = drawings.write_recipe(drawn, folder)
    text = recipe.read_text().replace("train: 64", "train: 200")
    recipe.write_text(text)
    command = [sys.executable, "-m", "scripts.to_shards", str(recipe), str(folder / "shards"), "--images", "4"]
    written = subprocess.run(command, cwd=commands.REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert len(list((folder / "shards/train").glob("*.tar"))) == 50
    assert written.endswith("shards: 64 shards\n")  # 8 of val, 6 of test
    source = f"{{kind: shards, root: {folder}/shards, streams: 4, shuffle: 10}}\nviews:"
    text = re.sub(r"(?s)\{kind: scenes.*?\}\}?\nviews:", source, text)
    recipe.write_text(text.replace("    epochs: 2\n", "    epochs: 2\n    save_steps: 5\n"))
    return folder


@pytest.mark.slow
def test_two_processes_distil_from_shards_and_resume(base: Path, tmp_path: Path) -> None:
    recipe = (base / "tiny.yaml").read_text()
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.yaml").write_text(recipe)
    finish(tmp_path / "whole")
    for file in ("teacher_outputs.partial/*/about.json", "student.partial/last.safetensors"):
        kill_when(tmp_path / "killed", file)
    assert "resuming" in finish(tmp_path / "killed")
    whole, killed = (tmp_path / name / "runs/tiny" for name in ("whole", "killed"))
    for path in ("teacher/best", "teacher/last", "student/best", "student/last", "baseline/last"):
        assert sha256_of(whole / f"{path}.safetensors") == sha256_of(killed / f"{path}.safetensors"), path
    assert len(list((whole / "teacher_outputs").glob("*/logits.raw"))) == 50
    split = read_split(whole / "data", "train")
    assert split.shards is not None
    assert np.diff(split.shards.starts).tolist() == [4] * 50
    assert not (whole / "data.work").exists()
