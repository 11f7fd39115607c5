"""Commands that train nothing start without the libraries that take seconds to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from pipeline import costs, stages
from pipeline.recipe.schema import Recipe, load_recipe
from pipeline.runner import result
from tests.helpers import drawings

SLOW = ("torch", "torchvision", "timm", "numpy", "PIL", "rich", "onnx", "jsonschema")
SCRIPT = """
import sys
from pipeline.cli.main import main
slow = sys.argv[1].split()
for command in ("--help", "plan --recipe tiny.yaml", "distill --recipe tiny.yaml"):
    try:
        code = main(command.split())
    except SystemExit as ended:
        code = ended.code
    loaded = [name for name in slow if name in sys.modules]
    assert not code and not loaded, (command, code, loaded)
"""


def test_help_plan_and_a_finished_stage_import_nothing_slow(tmp_path: Path) -> None:
    drawings.draw(tmp_path)
    finish(load_recipe(str(drawings.write_recipe(tmp_path, tmp_path))), tmp_path / "runs/tiny")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", SCRIPT, " ".join(SLOW)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  skip  ") == 5, "plan found the finished stages"
    assert done.stderr.count(": unchanged, skipped") == 5


def finish(recipe: Recipe, folder: Path) -> None:
    """Write results of the stages of `distill` as if they had run, and count what the models cost."""
    (folder / "data").mkdir(parents=True)
    (folder / "data/labels.json").write_text(json.dumps(sorted(drawings.COLOURS)))
    line = stages.pipeline(recipe, folder).until("student", "baseline")
    for stage in line.stages:
        (folder / stage.name).mkdir(exist_ok=True)
        read = {name: result.read(folder / name) for name in stage.reads}
        contents = {name: one.content_without(stage.unread) for name, one in read.items() if one}
        facts = {"identity": line._identity(stage, contents), "content": stage.name, "seconds": 1.0, "files": {}}
        result.write_json(folder / stage.name / "stage.json", facts)
    for trained in (recipe.teacher, recipe.student):
        assert trained is not None
        costs.count(trained.model, trained.training.frozen_groups, len(drawings.COLOURS))
