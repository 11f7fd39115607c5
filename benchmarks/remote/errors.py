"""What went wrong with a device over ssh, as one line that says what to do."""

from __future__ import annotations

import re

from benchmarks.remote.base import DeviceEntry, DeviceError, NoRoomError

LONGEST = 300  # characters of what a device wrote
MESSAGES = {
    "no ssh": "expected the OpenSSH client {got} on this machine, got none; install it",
    "host": "host: expected a name that can be resolved, got {entry.host}: {got}; "
    "correct host in devices.yaml, or add it to ~/.ssh/config",
    "another host key": "host key: expected the one in known_hosts, got another: the device was set up anew, or this "
    "is not it; "
    "compare the fingerprint there (ssh-keygen -lf), then ssh-keygen -R the host, and `ssh {entry.host}` once",
    "new host key": "host key: expected it in known_hosts, got a new one; compare it and `ssh {entry.host}` once",
    "key": "login: expected a key that {entry.host} accepts, got: {got}; "
    "ssh-copy-id {entry.host}, or ssh-add the key: nobody is there to type a password",
    "lost": "connection to {entry.host}: expected one that holds, got: {got}; "
    "check that it is on, its network and address, and that `ssh {entry.host}` works",
    "not started": "login: expected that {entry.python} starts, got nothing within {got}: "
    "the login shell of {entry.host} reads standard input, or waits for something else; return early in its start-up "
    "files (~/.bashrc) where no terminal is; `ssh {entry.host} {entry.python} -V` must end by itself",
    "input": "expected standard input as it was sent, got: {got}; "
    "what its shell starts with (~/.bashrc) must not read standard input where no terminal is",
    "no python": "python: expected the program {entry.python}, got: {got}; "
    "install Python 3.10 or newer there, or correct python in devices.yaml",
    "python": "expected Python 3.10 or newer, got: {got}; install one and name it as python in devices.yaml",
    "exit": "python: expected an answer, got {got}; try `ssh {entry.host} {entry.python}`",
    "invalid": "expected an answer of the agent, got {got}; do not trust this device",
    "free": "space: expected {got}; make room, or choose another folder than {entry.folder}",
    "space": "{entry.folder}: expected room for the bundle and the images, got: {got}; "
    "make room, or choose another folder than {entry.folder}",
    "busy": "{entry.folder}: expected it to itself, got: {got}; "
    "wait, or give each devices.yaml that names this device another folder",
    "system": "{entry.folder}: expected files that can be read and written, got: {got}; "
    "see the message; correct folder in devices.yaml",
}


class ConnectionLostError(Exception):
    """The connection broke, or was not made; it may be better the next time."""


def error(entry: DeviceEntry, kind: str, got: str = "") -> DeviceError:
    """The error of a device: one of the messages, with what was got instead of what was expected."""
    message = MESSAGES.get(kind, MESSAGES["system"]).format(entry=entry, got=printable(got))
    raised = NoRoomError if kind in ("free", "space") else DeviceError
    return raised(f"{entry.name}: {message}")


def of_ssh(entry: DeviceEntry, written: str, *, was_reached: bool) -> DeviceError | ConnectionLostError:
    """What ssh writes when it fails itself; a name that was resolved before is looked up again."""
    last = last_line(written)
    if "IDENTIFICATION HAS CHANGED" in written:
        return error(entry, "another host key")
    if "Host key verification failed" in written:
        return error(entry, "new host key")
    if re.search(r"Permission denied \(|Too many authentication failures", written):
        return error(entry, "key", last)
    if "Could not resolve hostname" in written and not was_reached:
        return error(entry, "host", last)
    return ConnectionLostError(last)


def printable(text: str) -> str:
    """One short line of what a device wrote: no control characters, none that hide or turn text."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def last_line(written: str) -> str:
    """The last line that says something, printable."""
    texts = [printable(line) for line in written.splitlines()]
    return next((text for text in reversed(texts) if text), "nothing on its standard error")
