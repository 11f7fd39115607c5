"""The line as torchrun starts it, and killed and started again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlkd.models import checkpoint
from tests.helpers import drawings

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
def test_two_processes_distill(tmp_path: Path) -> None:
    drawings.draw(tmp_path)
    recipe = drawings.write_recipe(tmp_path, tmp_path)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launch, "-m", "pipeline", "distill", "--recipe", str(recipe)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    for stage in ("teacher", "student", "baseline"):
        folder = tmp_path / "runs/tiny" / stage
        assert checkpoint.read(folder / checkpoint.LAST)[1]["step"] == 8  # 64 images in batches of 16, two epochs
        assert len(json.loads((folder / "history.json").read_text())) == 2
