"""The files in examples/service/ start the program as it is, and are valid."""

import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.tagger_cli import _parser
from tests.helpers import bundles, served
from tests.helpers.once import Once

FOLDER = Path(__file__).parents[2] / "examples/service"
DOCKERFILE = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
SYSTEMD = shutil.which("systemd-analyze")


def parsed(words: list[str]) -> argparse.Namespace:
    """The options of a command line of the program."""
    (start,) = (number for number, word in enumerate(words) if word.endswith("tagger.pyz"))
    return _parser().parse_args(words[start + 1 :])


def docker(instruction: str) -> list[str]:
    """The words of an instruction in its JSON form."""
    (line,) = re.findall(rf"^{instruction} .*?(\[.*\])$", DOCKERFILE, re.MULTILINE)
    return [str(word) for word in json.loads(line)]


def exec_start(name: str) -> list[str]:
    text = (FOLDER / name).read_text(encoding="utf-8").replace("\\\n", "")
    return shlex.split(re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)[-1])


def test_the_unit_serves_this_machine_and_its_addition_others() -> None:
    options = parsed(exec_start("tagger.service"))
    assert (options.run.__name__, options.host, options.token_file) == ("serve", "127.0.0.1", None)
    options = parsed(exec_start("tagger-network.conf"))
    assert (options.host, options.behind_proxy) == ("0.0.0.0", False)
    assert [str(file).rpartition("/")[2] for file in (options.token_file, options.tls_cert, options.tls_key)] == [
        "token", "cert.pem", "key.pem",
    ]  # fmt: skip


def test_the_unit_waits_longer_than_the_program_takes_to_stop() -> None:
    from export.tagger.service import Limits

    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", (FOLDER / "tagger.service").read_text(), re.MULTILINE)
    assert int(seconds) > Limits().stop_s


PYTHON = "/opt/tagger-python/bin/python"  # of the unit, which systemd looks for


@pytest.mark.skipif(SYSTEMD is None, reason="systemd-analyze missing")
def test_systemd_accepts_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    unit = tmp_path / "tagger.service"
    text = (FOLDER / "tagger.service").read_text(encoding="utf-8")
    unit.write_text(text.replace(PYTHON, sys.executable))
    (tmp_path / "tagger.service.d").mkdir()
    addition = (FOLDER / "tagger-network.conf").read_text(encoding="utf-8").replace(PYTHON, sys.executable)
    (tmp_path / "tagger.service.d/network.conf").write_text(addition)
    verify = [str(SYSTEMD), "verify", "--man=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rate = [str(SYSTEMD), "security", "--offline=yes", "--threshold=20", str(unit)]
    done = subprocess.run(rate, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_serves_as_a_user_without_rights_and_asks_for_its_health(once: Once) -> None:
    options = parsed([*docker("ENTRYPOINT"), *docker("CMD")])
    assert (options.run.__name__, options.host, options.behind_proxy) == ("serve", "0.0.0.0", True)
    assert str(options.token_file) == "/run/secrets/token"
    assert re.search(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    selftest = re.findall(r"^RUN (python -I .*)$", DOCKERFILE, re.MULTILINE)
    assert parsed(shlex.split(selftest[0])).any_engine
    packages = re.findall(r"^RUN pip install --no-cache-dir (.*)$", DOCKERFILE, re.MULTILINE)
    assert packages == ["numpy pillow onnxruntime"]
    python, *flags, code = docker("HEALTHCHECK")
    assert (python, flags) == ("python", ["-I", "-c"])
    with served.serve(bundles.shared_colours(once)) as service:
        healthy = code.replace(":8765", f":{service.port}")
        assert healthy != code
        assert subprocess.run([sys.executable, *flags, healthy], check=False).returncode == 0
        service.stop()
        assert subprocess.run([sys.executable, *flags, healthy], stderr=subprocess.DEVNULL, check=False).returncode != 0
