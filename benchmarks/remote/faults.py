"""What went wrong with a device over ssh, as one line that says what to do."""

from __future__ import annotations

import re

from benchmarks.remote.base import DeviceEntry, DeviceError, NoRoomError, UnfitError

KEY = re.compile(r"Permission denied \(|Too many authentication failures")
SHOWN = 300


class ConnectionLostError(Exception):
    """The connection broke, or was not made; it may be better the next time."""


def plain(text: str) -> str:
    """One printable line of what a device wrote: no control characters, none that hide or turn text."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"


def last_line(text: bytes) -> str:
    """The last line that says something, printable."""
    lines = [plain(line) for line in text.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "nothing on its standard error")


def of_ssh(entry: DeviceEntry, written: bytes, reached: bool) -> DeviceError | ConnectionLostError:
    """What exit code 255 of ssh means; a name that was resolved before is looked up again."""
    text, last, host = written.decode(errors="replace"), last_line(written), entry.host
    if "IDENTIFICATION HAS CHANGED" in text:
        return _error(
            entry,
            "host key: expected the one in known_hosts, got another: the device was set up anew, or this is not it",
            f"compare the fingerprint there (ssh-keygen -lf), then ssh-keygen -R the host, and `ssh {host}` once",
        )
    if "Host key verification failed" in text:
        return _error(entry, "host key: expected it in known_hosts, got a new one", f"compare it and `ssh {host}` once")
    if KEY.search(text):
        step = f"ssh-copy-id {host}, or ssh-add the key: nobody is there to type a password"
        return _error(entry, f"login: expected a key that {host} accepts, got: {last}", step)
    if "Could not resolve hostname" in text and not reached:
        step = "correct host in devices.yaml, or add it to ~/.ssh/config"
        return _error(entry, f"host: expected a name that can be resolved, got {host}: {last}", step)
    return ConnectionLostError(last)


def not_started(entry: DeviceEntry, limit_s: float) -> DeviceError:
    """It let ssh in, and Python did not start."""
    return _error(
        entry,
        f"login: expected that {entry.python} starts, got nothing within {limit_s:g} s: "
        f"the login shell of {entry.host} reads standard input, or waits for something else",
        f"return early in its start-up files (~/.bashrc) where no terminal is; `ssh {entry.host} {entry.python} -V` "
        "must end by itself",
    )


def of_exit(entry: DeviceEntry, code: int, written: bytes) -> DeviceError:
    """What it means that a device ran something and did not answer."""
    last = last_line(written)
    if code in (126, 127):
        step = "install Python 3.10 or newer there, or correct python in devices.yaml"
        return _error(entry, f"python: expected the program {entry.python}, got: {last}", step)
    return _error(
        entry, f"python: expected an answer, got exit code {code}: {last}", f"try `ssh {entry.host} {entry.python}`"
    )


def of_answer(entry: DeviceEntry, fault: object, text: str) -> DeviceError:
    """What the agent says that it could not do."""
    where = f"{entry.folder}: " if fault in ("space", "busy", "system") else ""
    expected, step = {
        "python": ("Python 3.10 or newer", "install one and name it as python in devices.yaml"),
        "input": (
            "standard input as it was sent",
            "what its shell starts with (~/.bashrc) must not read standard input where no terminal is",
        ),
        "space": ("room for the bundle and the images", f"make room, or choose another folder than {entry.folder}"),
        "busy": ("it to itself", "wait, or give each devices.yaml that names this device another folder"),
        "damaged": ("a file as it was sent", "run again: it is sent again; if it stays so, test the disk"),
    }.get(str(fault), ("files that can be read and written", "see the message; correct folder in devices.yaml"))
    error = _error(entry, f"{where}expected {expected}, got: {plain(text)}", step)
    return NoRoomError(str(error)) if fault == "space" else error


def no_room(entry: DeviceEntry, needed: int, free: int) -> DeviceError:
    """More is to be copied than fits."""
    step = f"make room, or choose another folder than {entry.folder}"
    return NoRoomError(str(_error(entry, f"space: expected {needed / 1e6:.1f} MB free, got {free / 1e6:.1f} MB", step)))


def of_retries(entry: DeviceEntry, last: ConnectionLostError) -> DeviceError:
    """It broke too often."""
    tries = f"{entry.retries + 1} tries" if entry.retries else "1 try"
    step = f"check that it is on, its network and address, and that `ssh {entry.host}` works"
    return _error(entry, f"connection to {entry.host}: expected one that holds, got: {last} ({tries})", step)


def no_client(entry: DeviceEntry, program: str) -> DeviceError:
    """There is no ssh here."""
    return _error(entry, f"expected the OpenSSH client {program} on this machine, got none", "install it")


def not_understood(entry: DeviceEntry, what: str) -> DeviceError:
    """The device answers with what the agent would never say."""
    return _error(entry, f"expected an answer of the agent, got {what}", "do not trust this device")


def unfit(entry: DeviceEntry, reason: str) -> UnfitError:
    """It lacks something; the reason has its next step."""
    return UnfitError(f"{entry.name}: {reason}")


def _error(entry: DeviceEntry, what: str, step: str) -> DeviceError:
    return DeviceError(f"{entry.name}: {what}; {step}")
