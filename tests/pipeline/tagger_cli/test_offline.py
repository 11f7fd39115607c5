"""Nothing leaves the device: no runtime opens a socket to a network or writes into the home folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.agreement import START

STRACE = shutil.which("strace")
INTERNET = "AF_INET"  # the family of addresses, version 6 included, in every call that names one

Traced = Callable[..., list[str]]


@pytest.fixture
def traced(tmp_path: Path) -> Traced:
    """Runs Python with these words in an empty home and gives the calls that reach for a network, and what lies there.

    strace sees what native threads and child processes do as well.
    """
    home, log = tmp_path / "home", tmp_path / "log"
    home.mkdir()
    trace = [STRACE or "", "-f", "--seccomp-bpf", "-e", "trace=%network", "-o", str(log)]
    if STRACE is None or subprocess.run([*trace, "true"], capture_output=True).returncode:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("strace missing, or tracing is forbidden")
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def run(*words: str | Path, code: int = 0) -> list[str]:
        ended = subprocess.run(
            [*trace, sys.executable, *map(str, words)], capture_output=True, text=True, env=environment
        )
        assert ended.returncode == code, ended.stderr
        reached = [line for line in log.read_text().splitlines() if INTERNET in line]
        return reached + [str(file) for file in home.rglob("*")]

    return run


def test_the_check_sees_a_look_up_of_a_host(traced: Traced) -> None:
    look_up = "import socket, contextlib\nwith contextlib.suppress(OSError): socket.create_connection(('127.0.0.1', 9))"
    assert traced("-c", look_up)


PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from pipeline.tagger_cli import main
engines = ("onnxruntime-fp32", "openvino-fp32")
named = [word for engine in engines for word in ("--engine", engine)]
one = ["--images", sys.argv[2], "--queries", "1", "--warmup-s", "0.01"]
bundle = ["--bundle", sys.argv[3]]
images = sys.argv[4:]
assert main(["tag", *bundle, *images]) == 0  # the first start opens every engine
for _ in range(2):
    assert main(["tag", *bundle, *named[2:], *images]) == 0  # as one that serves does, again and again
assert main(["selftest", *bundle, *named]) == 0
for engine in engines:
    assert main(["bench", *bundle, *one, "--engine", engine]) == 0
"""


def test_no_command_of_the_program_reaches_for_a_network(
    folder: Path, images: dict[str, Path], tmp_path: Path, traced: Traced
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{file}\n" for file in images.values()))
    assert traced("-c", PROGRAM, folder / "tagger.pyz", listed, folder, *images.values()) == []


def test_openvinos_own_benchmark_reaches_for_no_network(traced: Traced) -> None:
    assert traced("-c", START, code=2) == []  # no model is named: it has imported everything by then


def test_what_sends_for_openvino_and_nncf_cannot_be_imported() -> None:
    assert pytest.importorskip("openvino.tools.ovc.telemetry_utils").tm.__name__ == "openvino.tools.ovc.telemetry_stub"
    with pytest.raises(ImportError):
        import openvino_telemetry  # noqa: F401
