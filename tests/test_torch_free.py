"""What runs on the device reaches neither torch nor the tools of the desk."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from export.bundle.program import PARTS, build_pyz
from tests.helpers import bundles
from tests.helpers.once import Once

ROOT = Path(__file__).parents[1]
BLOCKED = ("torch", "torchvision", "jaxtyping", "timm", "onnx", "accelerate", "pydantic", "rich", "yaml")
BLOCK = f"""
import importlib.abc, sys
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError("a torch-free module imported " + name)
sys.meta_path.insert(0, Block())
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


def modules() -> list[str]:
    """The modules that travel in tagger.pyz, and the rest of the rooms that must not reach torch."""
    parts = [ROOT / part for part in (*PARTS, "benchmarks/remote")]
    files = {file for part in parts for file in (part.rglob("*.py") if part.is_dir() else [part])}
    files |= {*(ROOT / "benchmarks").glob("*.py")}
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in sorted(files)]


def test_the_block_works() -> None:
    ended = run("import torch")
    assert ended.returncode == 1
    assert "a torch-free module imported torch" in ended.stderr


def test_every_torch_free_module_imports_without_torch() -> None:
    names = modules()
    assert {"export.tagger", "benchmarks.device.timing", "export.backends.openvino"} <= set(names)
    ended = run("import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)", *names)
    assert ended.returncode == 0, ended.stderr


def test_init_needs_no_torch(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for number in range(12):
        place = folder / ("cat" if number % 2 else "dog")
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (20 * number, 0, 0)).save(place / f"{number}.png")
    code = "block = sys.meta_path.pop(0); import yaml; sys.meta_path.insert(0, block)  # the desk has YAML"
    code += "\nfrom pipeline.__main__ import main; sys.exit(main(['init', *sys.argv[1:]]))"
    looked = run(code, str(folder), "--out", str(tmp_path / "mine.yaml"), "--look")
    assert looked.returncode == 0, looked.stderr
    assert looked.stdout.endswith("nothing was written; run without --look to write the recipe\n")
    written = run(code, str(folder), "--out", str(tmp_path / "mine.yaml"))
    assert written.returncode == 0, written.stderr
    assert written.stdout.startswith("".join(looked.stdout.splitlines(keepends=True)[:-1]))
    assert (tmp_path / "mine.yaml").is_file()


def test_the_learning_part_would_be_noticed() -> None:
    assert "a torch-free module imported" in run("import mlkd.training.trainer").stderr


def test_every_module_of_the_program_imports_from_the_program_alone(tmp_path: Path) -> None:
    program = build_pyz(tmp_path / "tagger.pyz")
    with zipfile.ZipFile(program) as archive:
        names = [name.removesuffix(".py").replace("/", ".") for name in archive.namelist() if name != "__main__.py"]
    names = [name.removesuffix(".__init__") for name in names]
    code = """
import importlib
sys.path = [sys.argv[1]] + [entry for entry in sys.path if entry not in ("", sys.argv[2])]
for name in sys.argv[3:]:
    assert importlib.import_module(name).__file__.startswith(sys.argv[1]), name
"""
    ended = run(code, str(program), str(ROOT), *names)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(("runtime", "engine"), [("onnxruntime", "onnxruntime-fp32"), ("openvino", "openvino-fp32")])
def test_the_program_tags_with_numpy_pillow_and_one_runtime(
    once: Once, tmp_path: Path, runtime: str, engine: str
) -> None:
    """A bare Python that finds only these packages: no torch, no checkout, no other runtime."""
    bundle = bundles.shared_colours(once)
    image = bundles.write_images(tmp_path / "images")["red"]
    ended = subprocess.run(
        [*bare_program(bundle, tmp_path / "packages", runtime), "tag", "--verbose", "--json", str(image)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert [tag["label"] for tag in json.loads(ended.stdout)["tags"]] == ["red"]
    assert f"engine {engine}: " in ended.stderr


@pytest.mark.slow
def test_two_programs_at_once_rebuild_one_engine(once: Once, tmp_path: Path) -> None:
    bundle = bundles.write_stale(bundles.shared_colours(once), tmp_path)
    image = bundles.write_images(tmp_path / "images")["red"]
    command = bare_program(bundle, tmp_path / "packages", "openvino")
    command += ["tag", "--verbose", "--rebuild", "--engine", "openvino-fp32", "--threshold", "0.4", str(image)]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) for _ in range(2)]
    printed = [process.communicate() for process in started]
    for process, (out, err) in zip(started, printed, strict=True):
        assert process.returncode == 0, err
        assert out == f"{image}: red 0.49\n"
        assert f"built on this device: {tmp_path}/cache/edge-tagger/engines/" in err
    assert len(list(tmp_path.glob("cache/edge-tagger/engines/*/*/fp32.xml"))) == 1


def bare_program(bundle: Path, packages: Path, runtime: str) -> list[str]:
    """The start of the bundle's program in a Python that finds nothing else."""
    bare_environment(packages, runtime)
    start = f"import runpy, sys; sys.path.append({str(packages)!r}); sys.argv = sys.argv[1:]"
    start += "; sys.path.insert(0, sys.argv[0]); runpy.run_path(sys.argv[0], run_name='__main__')"
    return [sys.executable, "-I", "-S", "-c", start, str(bundle / "tagger.pyz")]


def bare_environment(folder: Path, runtime: str) -> Path:
    """Links to numpy, Pillow and one runtime, with the libraries that their wheels put beside them."""
    folder.mkdir()
    site = Path(str(importlib.util.find_spec("numpy").origin)).parents[1]  # type: ignore[union-attr]
    wanted = ("numpy", "numpy.libs", "PIL", "pillow.libs", runtime, f"{runtime}.libs")
    for name in wanted:
        if (site / name).exists():
            (folder / name).symlink_to(site / name)
    for info in site.glob(f"{runtime}*.dist-info"):
        (folder / info.name).symlink_to(info)
    return folder
