"""The program in environments of the oldest Python and packages that it supports, fetched for the purpose."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import bundles

PYTHON = "3.10"
PACKAGES = ("numpy==2.0.0", "pillow==11.3.0")
RUNTIMES = ("onnxruntime==1.19.2", "openvino==2025.3.0")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_tag_selftest_and_bench_with_the_oldest_set(tmp_path: Path, runtime: str) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert uv is not None, "make setup installs it"
    python = tmp_path / "environment/bin/python"
    found = subprocess.run(
        [uv, "python", "find", "--no-python-downloads", PYTHON], capture_output=True, text=True, check=False
    )
    if found.returncode:
        pytest.skip(f"Python {PYTHON} is not on the PATH")
    subprocess.run([uv, "venv", "--quiet", "--python", found.stdout.strip(), tmp_path / "environment"], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *PACKAGES, runtime], check=True)
    bundle = bundles.write_colours(tmp_path / "colours", tmp_path / "work")
    image = bundles.write_images(tmp_path / "images")["yellow"]

    def run(*words: object) -> str:
        command = list(map(str, [python, "-I", bundle / "tagger.pyz", *words]))
        environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout

    tagged = json.loads(run("tag", "--json", image))
    assert {tag["label"] for tag in tagged["tags"]} == {"red", "green"}
    engine = f"{runtime.partition('=')[0]}-fp32"
    assert json.loads(run("info", "--json"))["chosen"]["engine"] == engine
    assert run("selftest").endswith("self-test: passed\n")
    assert f"\n{engine} " in run("bench", "--queries", "4", "--warmup-s", "0.1")
