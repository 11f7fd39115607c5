"""A device behind a real OpenSSH server, with a Python that finds numpy, Pillow and one runtime."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import DeviceError, Ssh, agent, ssh
from mlkd.core.processes import PACKAGES
from tests.helpers import bundles, hostile, sshd

DAY_S = 86400.0


def stored(tmp_path: Path, pattern: str) -> list[Path]:
    return sorted(tmp_path.glob(f"store/{pattern}"))


def wait_for(condition: Callable[[], Any]) -> None:
    """At most 30 s."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def wait_for_end_of(pids: Path) -> None:
    for pid in pids.read_text().split():
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists())


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What devices are sent: names of files and their first bytes."""
    found: list[tuple[str, int]] = []
    open_ends = ssh._open_ends

    def record(files: list[tuple[Path, int]]) -> Any:
        found.extend((file.name, start) for file, start in files)
        return open_ends(files)

    monkeypatch.setattr(ssh, "_open_ends", record)
    return found


def test_a_device_measures_and_scores(board: Callable[..., Ssh], colours: Path, tmp_path: Path) -> None:
    """Against the formula of the graph, which is the same in any program."""
    images = bundles.write_images(tmp_path / "images")
    with closing(board(retries=1)) as device:
        run, pack, scratch = device.place(colours), device.copy_images(list(images.values())), device.scratch()
        common = ["--engine", "onnxruntime-fp32", "--images", pack]
        timed = run("bench", *common, "--queries", "5", "--warmup-s", "0.1")
        run("scores", *common, "--out", f"{scratch}/scores")
        device.fetch(f"{scratch}/scores/onnxruntime-fp32.npy", tmp_path / "scores.npy")
    assert timed["sha256"] == ssh.sha256_of(colours / "models/fp32.onnx")
    assert (timed["images"], len(timed["samples"]["end_to_end_ms"])) == (4, 5)
    logits = np.array([bundles.COLOURS[name] for name in images]) * 12 / 255 - 6
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), 1 / (1 + np.exp(-logits)), atol=0.01)
    assert stored(tmp_path, "scratch/*") == []


def test_only_what_changed_is_sent(
    board: Callable[..., Ssh],
    bundle: Path,
    tmp_path: Path,
    sent: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ssh, "_check_requirements", lambda *_: None)  # which starts a process for each package
    device = board()
    device.place(bundle)
    whole = ["card.md", "expected.npz", "fp32.onnx", "manifest.json", "manifest.sha256", "tagger.pyz"]
    assert sorted(sent) == [(name, 0) for name in whole]
    sent.clear()
    (tmp_path / "card").write_text("another card")
    changed = bundles.changed(bundle, tmp_path / "changed", {"card.md": tmp_path / "card"})
    (changed / "manifest.sig").write_text("a signature")
    run = device.place(changed)
    assert sorted(sent) == [(name, 0) for name in ("card.md", "manifest.json", "manifest.sha256", "manifest.sig")]
    words = ["a b", *filter(str.isprintable, hostile.NAMES.values())]
    assert run("say", *words)["said"] == words
    assert sorted(file.read_text() for file in stored(tmp_path, "bundles/*/card.md")) == ["a card", "another card"]
    (signature,) = stored(tmp_path, "bundles/*/manifest.sig")
    assert signature.read_text() == "a signature"
    assert {file.stat().st_mode & 0o777 for file in stored(tmp_path, "bundles/*")} == {0o700}


def test_a_program_runs_in_a_clean_process_and_fails_alone(
    board: Callable[..., Ssh], program: str, python: Path, tmp_path: Path
) -> None:
    variables = "export PYTHONPATH=/elsewhere PYTHONUNBUFFERED=1"
    run = board(python=str(sshd.shim(tmp_path / "python", python, shell=variables))).program(program)
    printed = run("say")
    assert printed["python"] == {"PYTHONPATH": "/elsewhere"}
    assert agent.PACKAGES == PACKAGES
    assert printed["folder"] == os.sep
    with pytest.raises(ProcessFailedError, match=r"^exit code 1: last \[2Jwords$"):
        run("fail")
    with pytest.raises(ProcessFailedError, match=r"^no answer within 0\.5 s$"):
        run("wait", str(tmp_path / "pids"), "1", timeout_s=0.5)
    assert not Path(f"/proc/{(tmp_path / 'pids').read_text().strip()}").exists()


def test_a_program_in_the_home_folder(board: Callable[..., Ssh], python: Path, program: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    shutil.copyfile(program, tmp_path / "home/it.py")
    device = board(python=str(sshd.shim(tmp_path / "python", python, shell=f"export HOME={tmp_path}/home")))
    assert device.program("~/it.py")("say", "a b", "~/to")["said"] == ["a b", f"{tmp_path}/home/to"]
    assert device.program(str(tmp_path / "home/it.py"))("say", "~/to")["said"] == ["~/to"]


def test_a_damaged_copy_is_sent_again(board: Callable[..., Ssh], tmp_path: Path, sent: list[tuple[str, int]]) -> None:
    (tmp_path / "key.pub").write_text("a key")
    device = board()
    copy = Path(device.copy_file(tmp_path / "key.pub"))
    assert (copy.name, copy.read_text()) == ("key.pub", "a key")
    (stored_file,) = stored(tmp_path, "files/*")
    stored_file.write_text("no key")
    assert copy.read_text() == "no key"  # no second copy takes room
    assert device.copy_file(tmp_path / "key.pub") == str(copy)
    assert copy.read_text() == "a key"
    assert sent == [("key.pub", 0)] * 2


def test_a_copy_that_is_cut_is_resumed(
    board: Callable[..., Ssh], server: sshd.Server, tmp_path: Path, sent: list[tuple[str, int]]
) -> None:
    content = np.random.default_rng(0).bytes(32 << 20)
    (tmp_path / "big").write_bytes(content)
    device = board(retries=2)

    def cut() -> None:
        wait_for(lambda: any(file.stat().st_size > 1 << 20 for file in stored(tmp_path, "files/*.partial")))
        server.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    copy = Path(device.copy_file(tmp_path / "big"))
    cutter.join()
    assert copy.read_bytes() == content
    assert [start > 1 << 20 for _, start in sent] == [False, True]
    assert stored(tmp_path, "files/*.partial") == []


@pytest.mark.parametrize(("beginning", "starts"), [("a wrong", [7, 0]), ("one that is too long", [0])])
def test_a_wrong_beginning_is_sent_again(
    board: Callable[..., Ssh], tmp_path: Path, sent: list[tuple[str, int]], beginning: str, starts: list[int]
) -> None:
    (tmp_path / "file").write_text("a small file")
    (tmp_path / "store/files").mkdir(parents=True)
    (tmp_path / f"store/files/{ssh.sha256_of(tmp_path / 'file')}.partial").write_text(beginning)
    assert Path(board(retries=len(starts) - 1).copy_file(tmp_path / "file")).read_text() == "a small file"
    assert [start for _, start in sent] == starts


@pytest.mark.parametrize(("cuts", "retries"), [(1, 2), (2, 1)])
def test_a_run_that_is_cut_is_ended_there_and_tried_again(
    board: Callable[..., Ssh], server: sshd.Server, program: str, tmp_path: Path, cuts: int, retries: int
) -> None:
    run, pids = board(retries=retries).program(program), tmp_path / "pids"
    pids.touch()

    def cut() -> None:
        for done in range(cuts):
            wait_for(lambda done=done: pids.read_text().count("\n") > done)
            server.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()
    if retries < cuts:
        lost = r"^pi: connection to board: expected one that holds, got: .*closed.* \(2 tries\); check that it is on"
        with pytest.raises(DeviceError, match=lost):
            run("wait", str(pids), str(cuts))
    else:
        assert run("wait", str(pids), str(cuts)) == {}
    cutter.join()
    wait_for_end_of(pids)


def test_one_command_at_a_time_until_another_thread_closes(
    board: Callable[..., Ssh], program: str, tmp_path: Path
) -> None:
    first, pids, ended = board(retries=3), tmp_path / "pids", []

    def wait() -> None:
        try:
            first.program(program)("wait", str(pids), "1")
        except DeviceError as cause:
            ended.append(str(cause))

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_for(lambda: pids.exists() and pids.read_text())
    with pytest.raises(DeviceError, match=r"^pi: .*store: expected it to itself, got: in use by another program"):
        board(timeout_s=0.5).program(program)("say")
    first.close()
    waiting.join()
    assert len(ended) == 1
    wait_for_end_of(pids)


def test_what_nobody_used_for_long_is_removed(board: Callable[..., Ssh], tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("a key")
    copy = Path(board().copy_file(tmp_path / "key.pub"))
    ages = {"files/old": 31, "files/recent": 29, "bundles/old": 31, "scratch/old": 31, "scratch/of 1970": 20000}
    for path, age_days in ages.items():
        (tmp_path / "store" / path).mkdir(parents=True)
        os.utime(tmp_path / "store" / path, (time.time() - age_days * DAY_S,) * 2)
    os.utime(stored(tmp_path, "files/*")[0], (time.time() - 31 * DAY_S,) * 2)  # needed, by a clock that jumps
    assert board().copy_file(tmp_path / "key.pub") == str(copy)
    assert stored(tmp_path, "*/old") == []
    assert len(stored(tmp_path, "*/recent") + stored(tmp_path, "*/of 1970") + stored(tmp_path, "files/*")) == 4


def test_a_result_that_is_absent_or_too_large_leaves_no_file(
    board: Callable[..., Ssh], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceError, match=r"got: .*No such file or directory: '/nowhere/a\.npy'"):
        board().fetch("/nowhere/a.npy", tmp_path / "a.npy")
    monkeypatch.setattr(ssh, "FETCHED", 10)
    (tmp_path / "big").write_bytes(bytes(1 << 17))
    with pytest.raises(DeviceError, match="expected an answer of the agent, got more than 64 KiB"):
        board().fetch(str(tmp_path / "big"), tmp_path / "a.npy")
    assert list(tmp_path.glob("a.npy*")) == []
