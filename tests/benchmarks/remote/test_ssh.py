"""A device behind a real OpenSSH server, with a Python that finds numpy, Pillow and one runtime."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.device.tagger_process import ProcessFailedError
from benchmarks.remote import DeviceEntry, DeviceError, Local, agent, ssh
from benchmarks.remote.ssh import Ssh
from mlkd.core.processes import PACKAGES
from tests.helpers import bundles, sshd

MiB = 1 << 20


def big(folder: Path) -> list[Path]:
    """One image, if you will, of 5 MiB."""
    (folder / "big.jpg").write_bytes(np.random.default_rng(0).bytes(5 * MiB))
    return [folder / "big.jpg"]


def store(tmp_path: Path, pattern: str) -> list[Path]:
    return sorted(tmp_path.glob(f"store/{pattern}"))


def wait_for(condition: Callable[[], Any]) -> None:
    """At most 30 s."""
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


def wait_for_the_end_of(pids: Path) -> None:
    for pid in pids.read_text().split():
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists())


def test_a_device_measures_and_scores_like_this_machine(board: Callable[..., Ssh], tmp_path: Path) -> None:
    bundles.write_colours(tmp_path / "colours", tmp_path / "work")
    files, found = list(bundles.write_images(tmp_path / "images").values()), []
    options = ["--engine", "onnxruntime-fp32", "--queries", "5", "--warmup-s", "0.1"]
    for device in (board(retries=1), Local(DeviceEntry(name="here"))):
        with closing(device):
            run, images, scratch = device.place(tmp_path / "colours"), device.images(files), device.scratch()
            told = run("bench", *options, "--images", images)
            run("scores", "--engine", "onnxruntime-fp32", "--images", images, "--out", f"{scratch}/scores")
            device.collect(f"{scratch}/scores/onnxruntime-fp32.npy", tmp_path / "scores.npy")
            found.append((told["sha256"], told["images"], np.load(tmp_path / "scores.npy", allow_pickle=False)))
            assert len(told["samples"]["end_to_end_ms"]) >= 5
    assert found[0][:2] == found[1][:2]
    assert found[0][2].shape == (4, 3)
    np.testing.assert_array_equal(found[0][2], found[1][2])
    assert store(tmp_path, "scratch/*") == []


def test_only_what_changed_travels(
    board: Callable[..., Ssh], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    pieces = ssh._pieces
    monkeypatch.setattr(
        ssh, "_pieces", lambda files: pieces([(sent.append(file.name), (file, at))[1] for file, at in files])
    )
    device = board()
    device.place(bundle)
    assert sorted(sent) == ["card.md", "expected.npz", "fp32.onnx", "manifest.json", "manifest.sha256", "tagger.pyz"]
    sent.clear()
    (tmp_path / "card").write_text("another card")
    changed = bundles.changed(bundle, tmp_path / "changed", {"card.md": tmp_path / "card"})
    (changed / "manifest.sig").write_text("a signature")
    run = device.place(changed)
    assert sorted(sent) == ["card.md", "manifest.json", "manifest.sha256", "manifest.sig"]
    assert run("say", "a b", "'$(id)\"")["said"] == ["a b", "'$(id)\""]
    there = [folder / "card.md" for folder in store(tmp_path, "bundles/*")]
    assert sorted(file.read_text() for file in there) == ["a card", "another card"]
    (signature,) = store(tmp_path, "bundles/*/manifest.sig")
    assert signature.read_text() == "a signature"


def test_a_command_runs_in_a_clean_process_and_fails_alone(
    board: Callable[..., Ssh], program: str, python: Path, tmp_path: Path
) -> None:
    variables = "export PYTHONPATH=/elsewhere PYTHONUNBUFFERED=1"
    device = board(python=str(sshd.shim(tmp_path / "python", python, shell=variables)))
    told = device._run([program, "say"], 60)
    assert told["python"] == {"PYTHONPATH": "/elsewhere"}
    assert agent.PACKAGES == PACKAGES
    assert Path(told["folder"]).parent == tmp_path / "store/scratch"
    assert not Path(told["folder"]).exists()
    with pytest.raises(ProcessFailedError, match=r"^exit code 1: last \[2Jwords$"):
        device._run([program, "fail"], 60)
    with pytest.raises(ProcessFailedError, match=r"^no answer within 0\.5 s$"):
        device._run([program, "wait", str(tmp_path / "pids"), "1"], 0.5)
    assert not Path(f"/proc/{(tmp_path / 'pids').read_text().strip()}").exists()


def test_a_program_in_the_home_folder_there(
    board: Callable[..., Ssh], python: Path, program: str, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    shutil.copyfile(program, tmp_path / "home/it.py")
    device = board(python=str(sshd.shim(tmp_path / "python", python, shell=f"export HOME={tmp_path}/home")))
    assert device.program("~/it.py")("say", "a b", "~/to")["said"] == ["a b", f"{tmp_path}/home/to"]
    assert device.program(str(tmp_path / "home/it.py"))("say", "~/to")["said"] == ["~/to"]


def test_a_file_is_brought(board: Callable[..., Ssh], tmp_path: Path) -> None:
    (tmp_path / "key.pub").write_text("a key")
    there = Path(board().bring(tmp_path / "key.pub"))
    assert (there.name, there.read_text()) == ("key.pub", "a key")
    assert there.is_relative_to(tmp_path / "store")


def test_a_copy_that_is_cut_goes_on_where_it_stopped(
    board: Callable[..., Ssh], server: sshd.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []
    pieces = ssh._pieces

    def cut_once(files: list[tuple[Path, int]]) -> Iterator[bytes]:
        starts.append(files[0][1])
        for at, piece in enumerate(pieces(files)):
            if at == 3 and len(starts) == 1:
                wait_for(lambda: any(file.stat().st_size > MiB for file in store(tmp_path, "files/*.partial")))
                assert server.cut() > 0
            yield piece

    monkeypatch.setattr(ssh, "_pieces", cut_once)
    pack = board(retries=2).images(big(tmp_path))
    assert starts[0] == 0
    assert MiB < starts[1] <= 3 * MiB
    assert len(starts) == 2
    assert tmp_path.joinpath("big.jpg").read_bytes() in Path(pack).read_bytes()
    assert store(tmp_path, "files/*.partial") == []


def test_a_spoilt_beginning_is_sent_again(board: Callable[..., Ssh], tmp_path: Path) -> None:
    device, files = board(retries=1), list(bundles.write_images(tmp_path / "images").values())
    pack = Path(device.images(files))
    content = pack.read_bytes()
    (whole,) = store(tmp_path, "files/*")
    whole.with_suffix(".partial").write_bytes(bytes(100))
    whole.unlink()
    shutil.rmtree(pack.parent)
    assert device.images(files) == str(pack)
    assert pack.read_bytes() == content


@pytest.mark.parametrize(("cuts", "retries"), [(1, 2), (2, 1)])
def test_a_run_that_is_cut_is_ended_there_and_tried_again(
    board: Callable[..., Ssh], server: sshd.Server, program: str, tmp_path: Path, cuts: int, retries: int
) -> None:
    device, pids = board(retries=retries), tmp_path / "pids"
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
            device._run([program, "wait", str(pids), str(cuts)], 60)
    else:
        assert device._run([program, "wait", str(pids), str(cuts)], 60) == {}
    cutter.join()
    wait_for_the_end_of(pids)


def test_one_command_at_a_time_until_another_thread_closes(
    board: Callable[..., Ssh], program: str, tmp_path: Path
) -> None:
    first, pids, ended = board(retries=3), tmp_path / "pids", []

    def wait() -> None:
        try:
            first._run([program, "wait", str(pids), "1"], 60)
        except DeviceError as cause:
            ended.append(str(cause))

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_for(lambda: pids.exists() and pids.read_text())
    with pytest.raises(DeviceError, match=r"^pi: .*store: expected it to itself, got: in use by another program"):
        board(timeout_s=0.2)._run([program, "say"], 60)
    first.close()
    waiting.join()
    assert len(ended) == 1
    wait_for_the_end_of(pids)


def test_a_file_that_changed_there_is_told_and_sent_again(board: Callable[..., Ssh], tmp_path: Path) -> None:
    device, files = board(), list(bundles.write_images(tmp_path / "images").values())
    pack = Path(device.images(files))
    content = pack.read_bytes()
    (kept,) = store(tmp_path, "files/*")
    kept.write_bytes(content[:-1] + b"!")
    with pytest.raises(DeviceError, match=r"^pi: .*expected a file as it was sent, got: images\.zip: .*sha256"):
        device.images(files)
    assert device.images(files) == str(pack)
    assert pack.read_bytes() == content


def test_what_nobody_used_for_long_is_dropped(board: Callable[..., Ssh], tmp_path: Path) -> None:
    for path, age_days in {"files/old": 31, "files/recent": 29, "bundles/old": 31, "scratch/old": 31}.items():
        (tmp_path / "store" / path).mkdir(parents=True)
        os.utime(tmp_path / "store" / path, (time.time() - age_days * 86400,) * 2)
    board().images(list(bundles.write_images(tmp_path / "images").values()))
    assert store(tmp_path, "*/old") == []
    assert len(store(tmp_path, "*/recent")) == 1


def test_a_clock_that_was_not_set_or_jumps_sweeps_nothing_that_is_needed(
    board: Callable[..., Ssh], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "store/scratch/of 1970").mkdir(parents=True)
    os.utime(tmp_path / "store/scratch/of 1970", (5.0, 5.0))
    device, files = board(), list(bundles.write_images(tmp_path / "images").values())
    source = device._link._source
    device._link._source = source.replace(b"< time.time() - file", b"< time.time() + 9e7 - file")
    assert device._link._source != source
    assert Path(device.images(files)).is_file()
    assert len(store(tmp_path, "scratch/of 1970")) == 1


def test_a_result_that_is_absent_or_cut_leaves_no_file(
    board: Callable[..., Ssh], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceError, match=r"got: /nowhere/a\.npy: No such file or directory"):
        board().collect("/nowhere/a.npy", tmp_path / "a.npy")
    monkeypatch.setattr("benchmarks.remote.link.COLLECTED", 10)
    with pytest.raises(DeviceError, match=f"expected an answer of the agent, got a file of {5 * MiB} bytes"):
        board().collect(str(big(tmp_path)[0]), tmp_path / "a.npy")
    assert list(tmp_path.glob("a.npy*")) == []
