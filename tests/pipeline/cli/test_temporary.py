"""Temporary files have a folder of the command, which is gone with it or with the next one."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.cli.temporary import PREFIX, own_temporary_folder

KILLED = """
import os, subprocess, sys, tempfile
from pipeline.cli.temporary import own_temporary_folder
with own_temporary_folder():
    tempfile.mkdtemp()
    subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkdtemp()"], check=True)
    print(tempfile.gettempdir(), flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    return tmp_path


def test_files_of_a_command_and_its_children_are_gone_with_it(base: Path) -> None:
    with own_temporary_folder():
        (folder,) = base.iterdir()
        assert Path(tempfile.mkdtemp()).parent == folder
        subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkdtemp()"], check=True)
        assert len(list(folder.iterdir())) == 3
    assert list(base.iterdir()) == []
    assert (os.environ["TMPDIR"], tempfile.gettempdir()) == (str(base), str(base))


def test_what_a_killed_command_left_is_removed_by_the_next_and_not_while_it_runs(base: Path) -> None:
    command = [sys.executable, "-c", KILLED]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        folder = Path(running.stdout.readline().strip())
        with own_temporary_folder():
            assert folder.is_dir()
        assert len(list(folder.iterdir())) == 3, "it still runs"
        running.communicate("end")
    assert folder.is_dir()
    (base / f"{PREFIX}starting").mkdir()
    with own_temporary_folder():
        assert not folder.exists()
    assert [path.name for path in base.iterdir()] == [f"{PREFIX}starting"], "which may be about to lock its own"


SHARING = """
import multiprocessing, os
from multiprocessing.connection import Client, Listener
from pipeline.cli.temporary import own_temporary_folder
def listen(queue):
    with Listener() as listener:  # as torch does in a process that sends a tensor
        queue.put(listener.address)
        with listener.accept() as connection:
            connection.send("received")
if __name__ == "__main__":
    with own_temporary_folder():
        for start in ("fork", "forkserver"):  # the server of the latter has a socket of its own
            context = multiprocessing.get_context(start)
            queue = context.Queue()
            process = context.Process(target=listen, args=[queue])
            process.start()
            with Client(queue.get(timeout=60)) as connection:
                print(connection.recv())
            process.join()
"""


def test_processes_have_sockets_though_the_temporary_folder_has_a_long_path(tmp_path: Path) -> None:
    base, script = tmp_path / ("long" * 25), tmp_path / "sharing.py"
    base.mkdir()
    script.write_text(SHARING)
    environment = os.environ | {"TMPDIR": str(base), "PYTHONPATH": str(Path.cwd())}
    before = set(Path("/tmp").glob(f"{PREFIX}*"))
    ran = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert (ran.stdout, ran.returncode) == ("received\nreceived\n", 0), ran.stderr
    assert list(base.iterdir()) == []
    assert set(Path("/tmp").glob(f"{PREFIX}*")) <= before


def test_without_room_for_a_folder_nothing_changes(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with own_temporary_folder():
        assert os.environ["TMPDIR"] == str(base)
