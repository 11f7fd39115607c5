"""The program as a whole: what is wrong is said in one line, and what the bundle is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from export import __version__
from export.backends import OnnxRuntime, OpenVino
from export.tagger.engine_choice import EngineTimes
from pipeline.cli.signing import write_keys, write_signature
from pipeline.tagger_cli import main
from tests.helpers import bundles

pytestmark = pytest.mark.usefixtures("cache")
Images = dict[str, Path]
ENGINE = "onnxruntime-fp32"


def test_the_shipped_file_tags_from_anywhere(folder: Path, images: dict[str, Path], tmp_path: Path) -> None:
    command = [sys.executable, "-I", str(folder / "tagger.pyz"), "tag", str(images["red"]), str(images["yellow"])]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    red, yellow = ended.stdout.splitlines()
    assert red == f"{images['red']}: red 1.00"
    assert "green 1.00" in yellow
    assert ended.stderr == ""
    assert not list(folder.rglob("__pycache__"))


@pytest.mark.parametrize("words", [["tag", "a.jpg"], ["serve"], ["install", "--to", "x"]])
def test_a_python_without_the_packages_is_named(folder: Path, tmp_path: Path, words: list[str]) -> None:
    command = [sys.executable, "-I", "-S", folder / "tagger.pyz", *words]  # -S: no installed packages
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(
        f"tagger: numpy: expected it in {sys.executable}, got none; install numpy and Pillow"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tag", "x.jpg", "--engine", "tflite"], "engine: expected one of tensorrt-fp16-sm86, .* got 'tflite'"),
        (["tag", "x.jpg", "--engine", "tensorrt-fp16-sm86"], "expected one that runs on this machine, got tensorrt"),
        (["bench", "--images", "/nowhere/list.txt"], "/nowhere/list.txt"),
        (["scores", "--engine", "tflite", "--images", "LIST", "--out", "out"], "got 'tflite'"),
        (["bench", "--images", "EMPTY"], "expected a text file with one image's path a line, or a pack, got no path"),
    ],
)
def test_user_errors_are_one_line_and_code_2(run: Any, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "EMPTY").write_text("\n")
    (tmp_path / "LIST").write_text("x.jpg\n")
    err = run.refuse(*(tmp_path / word if word in ("EMPTY", "LIST", "out") else word for word in arguments))
    assert len(err.splitlines()) == 1
    assert re.search(message, err)


def test_a_folder_without_a_bundle_is_said(run: Any, tmp_path: Path) -> None:
    assert "manifest.json: expected a file of the bundle, got none" in run.refuse("info", bundle=tmp_path)
    with pytest.raises(ValueError, match=r"manifest.json"):
        run("info", "--debug", bundle=tmp_path)


@pytest.mark.parametrize("arguments", [[], ["fly"], ["tag"], ["tag", "x.jpg", "--top-k", "0"], ["bench", "--nonsense"]])
def test_a_wrong_command_line_is_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2
    assert "usage: tagger" in capsys.readouterr().err


def test_info_says_what_the_bundle_is_what_runs_here_and_why(run: Any, images: Images) -> None:
    head, signed, tuned, plan, onnxruntime, _, engine, program, machine = run("info")[0].splitlines()
    assert head == "colours (c0ffeec0ffee), 3 labels, 16 px"
    assert signed == "bundle: unsigned"
    assert tuned == "thresholds: tuned on 20 images"
    assert re.fullmatch(r"  tensorrt-fp16-sm86 +0\.0 MB +cannot run here: .*", plan)
    assert re.fullmatch(r"  onnxruntime-fp32 +0\.0 MB +\d\.\d\d ms  runs here", onnxruntime)
    facts = run.json("info", "--json")
    assert facts["labels"] == list(bundles.LABELS)
    fastest = min((one for one in facts["engines"] if one["here_ms"]), key=lambda one: float(one["here_ms"]))
    assert facts["chosen"]["engine"] == fastest["name"]
    assert facts["engines_measured"].startswith("here on ")
    assert re.fullmatch(r"engine: \S+: the fastest on this machine, \d+\.\d\d ms measured here on .*", engine)
    assert program == f"program: tagger {__version__}"
    assert facts["program"] == __version__
    assert machine.startswith(f"machine: {facts['machine']['cpu']}, ")
    _, err = run("tag", "--verbose", images["red"])
    assert f"engine {fastest['name']}: {facts['chosen']['why']}; " in err


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"aim": "f1", "precision": None}, "tuned for the highest F1 on 20 images"),
        ({"aim": "precision", "precision": 0.9}, "tuned for a precision of at least 0.9 on 20 images"),
    ],
)
def test_info_says_what_thresholds_were_tuned_for(run: Any, tmp_path: Path, config: dict[str, Any], told: str) -> None:
    content = {"export": {"thresholds": config}}
    bundle = bundles.with_manifest(run.bundle, tmp_path / "bundle", recipe_content=content)
    out, _ = run("info", "--engine", ENGINE, bundle=bundle)
    assert f"thresholds: {told}\n" in out


def test_info_says_once_what_several_engines_lack(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in (OnnxRuntime, OpenVino):
        monkeypatch.setattr(backend, "unavailable_reason", lambda _: "no runtime; install one")
    out, _ = run("info", "--engine", "openvino-fp32")
    assert out.count("no runtime; install one") == 1
    assert re.search(r"openvino-fp32 .* cannot run here: see onnxruntime-fp32\n", out)
    assert "\nengine: none can run here\n" in out


def test_info_tries_again_what_failed_before(run: Any, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(OnnxRuntime, "open", no_memory)
        assert re.search(r"onnxruntime-fp32 .* cannot run here: out of memory", run("info")[0])
    assert "onnxruntime-fp32: out of memory" in run("tag", "--verbose", images["red"])[1]
    assert re.search(r"onnxruntime-fp32 .* ms  runs here", run("info")[0])


def test_info_opens_each_engine_once(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    for backend in (OnnxRuntime, OpenVino):
        open_engine = backend.open

        def recorded(self: Any, file: Path, open_engine: Any = open_engine) -> Any:
            opened.append(self.kind)
            return open_engine(self, file)

        monkeypatch.setattr(backend, "open", recorded)
    run("info")
    assert sorted(opened) == ["onnxruntime", "openvino"]


def test_info_opens_no_engine_that_ends_the_process(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_engine = OnnxRuntime.open
    monkeypatch.setattr(OnnxRuntime, "open", lambda backend, file: opened.append(file) or open_engine(backend, file))
    ends = EngineTimes(p50_ms={}, unusable={ENGINE: "it ended the process"}, where="here")
    monkeypatch.setattr("export.tagger.engine_times.measure_engines", lambda *_, **__: ends)
    facts = run.json("info", "--json")
    assert opened == []
    assert facts["engines"][1]["lacks"] == "it ended the process"
    assert facts["chosen"]["engine"] == "openvino-fp32"


@pytest.fixture(scope="module")
def signed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A signed bundle, the public key of who signed it, and that of another."""
    work = tmp_path_factory.mktemp("signed")
    bundle = Path(shutil.copytree(folder, work / "bundle"))
    private, public = write_keys(work / "mine")
    write_signature(bundle, private)
    return bundle, public, write_keys(work / "other")[1]


def test_a_signature_that_nobody_checked_is_said(run: Any, signed: tuple[Path, Path, Path], images: Images) -> None:
    bundle, key, _ = signed
    tag = ["tag", "--engine", ENGINE, images["red"]]
    assert run(*tag, bundle=bundle)[1].startswith("bundle: signed, signature not checked: ")
    assert run(*tag, "--require-signature", key, bundle=bundle) == (f"{images['red']}: red 1.00\n", "")
    out, _ = run("info", "--engine", ENGINE, "--require-signature", key, bundle=bundle)
    assert f"bundle: signed, checked with {key}\n" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["tag", "IMAGE"],
        ["info"],
        ["bench"],
        ["bench", "--images", "LIST"],
        ["scores", "--images", "LIST"],
        ["selftest"],
    ],
)
def test_no_command_runs_what_another_signed_or_nobody(
    run: Any, signed: tuple[Path, Path, Path], images: Images, tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "list.txt").write_text(str(images["red"]))
    given = {"IMAGE": str(images["red"]), "LIST": str(tmp_path / "list.txt")}
    words = [given.get(word, word) for word in arguments] + ["--engine", ENGINE]
    words += ["--out", str(tmp_path / "out")] if words[0] == "scores" else []
    bundle, key, other = signed
    for where, by in ((bundle, other), (run.bundle, key)):
        assert "expected a signature by" in run.refuse(*words, "--require-signature", by, bundle=where)
    assert not (tmp_path / "out").exists()


def test_an_interrupt_is_one_line(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("export.bundle.bundle.read_bundle", interrupted)
    assert run("info", code=130)[1] == "tagger: interrupted\n"


def test_an_error_inside_a_runtime_is_one_line(run: Any, images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    class RuntimesOwnError(Exception):
        pass

    def broken(*_: object) -> None:
        raise RuntimesOwnError("kernel 7\nhas failed")

    monkeypatch.setattr(OnnxRuntime, "open", broken)
    assert run.refuse("tag", "--engine", ENGINE, images["red"]) == "tagger: kernel 7 has failed\n"
