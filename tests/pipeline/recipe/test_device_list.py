"""devices.yaml."""

from pathlib import Path

import pytest

from benchmarks.remote import DeviceEntry
from pipeline.recipe.device_list import HERE, DeviceList, read_device_list
from pipeline.recipe.faults import ConfigError
from pipeline.runner.identity import plain

FULL = """devices:
  - {name: desk, threads: 2, power_mode: quiet}
  - name: pi
    host: me@pi5
    port: 2222
    python: /usr/bin/python3.12
    folder: /data/tagger
    runtimes: [onnxruntime]
    rebuild: true
"""


def device_list(folder: Path, text: str) -> DeviceList:
    (folder / "devices.yaml").write_text(text)
    return read_device_list(folder / "devices.yaml")


def test_full_list(tmp_path: Path) -> None:
    devices = device_list(tmp_path, FULL)
    assert devices.here == DeviceEntry(name="desk", threads=2, power_mode="quiet")
    assert [(entry.name, entry.host, entry.port, entry.runtimes) for entry in devices.others] == [
        ("pi", "me@pi5", 2222, ("onnxruntime",))
    ]


def test_a_browser_is_measured_beside_this_machine(tmp_path: Path) -> None:
    devices = device_list(tmp_path, "devices: [{name: desk}, {name: Chromium here, kind: browser}]")
    assert devices.here == DeviceEntry(name="desk")
    assert devices.others == (DeviceEntry(name="Chromium here", kind="browser"),)
    assert plain(DeviceEntry(name="pi", host="pi")).keys().isdisjoint(("kind", "executable")), "results stay valid"


def test_this_machine_is_measured_without_an_entry(tmp_path: Path) -> None:
    assert device_list(tmp_path, "devices: [{name: pi, host: pi5}]").here == HERE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("devices: []", "at least one and distinct names, got \\[\\]"),
        ("devices: [{name: a, host: b}, {name: a, host: c}]", "distinct names, got \\['a', 'a'\\]"),
        ("devices: [{name: a}, {name: b}]", "one entry without a host at most"),
        ("devices: [{name: a}, {name: this machine, host: b}]", "another name for one that is not this machine"),
        ("devices: [{name: a, kind: browser, host: b}]", "host: expected none, as a browser runs on this machine"),
        ("devices: [{name: a, kind: browser, threads: 2}]", "threads: expected 1, as a page has, got 2"),
        ("devices: [{name: a, kind: browser, runtimes: [openvino]}]", "runtimes: expected onnxruntime among them, got"),
        ("devices: [{name: a, kind: browser, python: python3.12}]", "python: expected nothing, as a browser runs on"),
        ("devices: [{name: a, kind: browser, rebuild: true}]", "rebuild: expected nothing, as a browser runs on"),
        ("devices: [{name: a, executable: chromium}]", "executable: expected none without kind: browser"),
        ("devices: [{name: a, hots: b}]", "devices.0.hots: expected one of .*did you mean host"),
        ("devices: [{name: a, host: -oProxyCommand=sh}]", "host: expected a Host or user@address"),
        ("devices: [{name: a, host: b, runtimes: [tflite]}]", "runtimes: expected some of onnxruntime"),
        ("- a", "a valid list of devices"),
    ],
)
def test_a_list_with_a_fault_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        device_list(tmp_path, text)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"devices: expected a YAML file, got nothing at .*none\.yaml; check DEVICES"):
        read_device_list(tmp_path / "none.yaml")
