import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import DeviceEntry, DeviceError, Local
from export.errors import BundleError
from tests.helpers import bundles

PROGRAM = """import json, os, sys, time
if sys.argv[1] == "wait": time.sleep(9)
print(json.dumps([sys.executable, os.getcwd(), sys.argv[1:]]))"""


def bundle_of(folder: Path, program: str) -> Path:
    """A bundle whose program is this source."""
    (folder / "program.py").write_text(program)
    plain = bundles.write_plain(folder / "plain", folder / "model")
    return bundles.changed(plain, folder / "bundle", {"tagger.pyz": folder / "program.py"})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("host", "-oProxyCommand=touch", "a Host or user@address"),
        ("host", "user@-oProxyCommand=touch", "a Host or user@address"),
        ("host", "board; reboot", "a Host or user@address"),
        ("host", "", "a Host or user@address"),
        ("name", "\x1b[2J", "printable text"),
        ("name", "", "printable text"),
        ("python", "-c", "a program"),
        ("folder", "a\nb", "printable text"),
        ("install", "", "printable text"),
        ("port", 0, "1 to 65535"),
        ("port", 65536, "1 to 65535"),
        ("runtimes", ("caffe",), "some of onnxruntime, openvino, tensorrt"),
        ("threads", 0, "at least 1"),
        ("retries", -1, "at least 0"),
        ("timeout_s", 0.0, "more than 0"),
    ],
)
def test_an_entry_that_cannot_be_is_refused(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=f": {key}: expected {expected}, got "):
        DeviceEntry(**{"name": "pi", key: value})


@pytest.mark.parametrize("host", ["board", "pi@192.168.0.4", "pi@raspberrypi.local", "root@[fe80::1%eth0]", "_a-b_1"])
def test_hosts_as_ssh_takes_them(host: str) -> None:
    assert DeviceEntry(name="pi", host=host).host == host


def test_this_machine_runs_the_bundle_where_it_lies(tmp_path: Path) -> None:
    device = Local(DeviceEntry(name="this machine"))
    python, folder, arguments = device.place(bundle_of(tmp_path, PROGRAM))("a", "b c")
    assert python == sys.executable
    assert Path(folder) == Path(os.sep), "nothing may come from the checkout"
    assert arguments == ["a", "b c"]
    device.close()


def test_this_machine_stops_what_takes_too_long(tmp_path: Path) -> None:
    device = Local(DeviceEntry(name="this machine", timeout_s=0.3))
    run = device.place(bundle_of(tmp_path, PROGRAM))
    with pytest.raises(ProcessFailedError, match=r"no answer within 0\.3 s"):
        run("wait")
    with pytest.raises(ProcessFailedError, match=r"no answer within 0\.2 s"):
        run("wait", timeout_s=0.2)
    device.close()


def test_this_machine_takes_another_python_of_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own").symlink_to(sys.executable)
    bundle = bundle_of(tmp_path, PROGRAM)
    with closing(Local(DeviceEntry(name="this machine", python="~/own"))) as device:
        assert device.place(bundle)("a")[2] == ["a"]
    absent = Local(DeviceEntry(name="this machine", python="~/absent"))
    with closing(absent), pytest.raises(ProcessFailedError, match=r"absent: expected a program, got: No such file"):
        absent.place(bundle)("a")


def test_a_damaged_bundle_is_refused_here(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, PROGRAM)
    (bundle / "card.md").write_bytes(b"model bytez")
    device = Local(DeviceEntry(name="this machine"))
    with closing(device), pytest.raises(BundleError, match=r"card\.md: expected sha256"):
        device.place(bundle)


def test_images_and_results_of_this_machine(tmp_path: Path) -> None:
    device = Local(DeviceEntry(name="this machine"))
    files = list(bundles.write_images(tmp_path / "images").values())
    assert Path(device.copy_images(files)).read_text().splitlines() == [str(file) for file in files]
    scratch = Path(device.scratch())
    (scratch / "result.json").write_text(json.dumps([1]))
    device.fetch(f"{scratch}/result.json", tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text()) == [1]
    with pytest.raises(DeviceError, match=r"this machine: expected a result to copy, got .*nothing"):
        device.fetch(f"{scratch}/nothing", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    device.close()
    assert not scratch.exists()
