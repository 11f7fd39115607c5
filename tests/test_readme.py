"""What the README shows is what happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers import bundles

README = Path(__file__).parents[1] / "README.md"


def test_the_lines_for_the_library_run_beside_a_bundle(tmp_path: Path) -> None:
    shown = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(shown) == 1
    bundles.write_colours(tmp_path / "dist/scenes", tmp_path / "work")
    bundles.write_images(tmp_path)["yellow"].rename(tmp_path / "photo.jpg")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    ended = subprocess.run(
        [sys.executable, "-I", "-c", shown[0]],  # -I: only tagger.pyz can give the packages
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert {line.split()[0] for line in ended.stdout.splitlines()} == {"red", "green"}
