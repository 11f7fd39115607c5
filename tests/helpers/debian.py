"""Debian packages that a test makes itself."""

import io
import tarfile
from pathlib import Path

KINDS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)


def pack(file: Path, samples: dict[str, bytes], suffix: str = "xz", link_to: str = "") -> None:
    """A Debian package: an ar archive of debian-binary, control.tar and data.tar; one byte is a kind of no file."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=f"w:{suffix}") as archive:  # type: ignore[call-overload]
        for name, content in samples.items():
            member = tarfile.TarInfo(name)
            if content in KINDS:
                member.type, member.linkname = content, link_to
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    control = io.BytesIO()
    with tarfile.open(fileobj=control, mode="w:xz") as archive:
        text = b"Package: any\nVersion: 1\nArchitecture: all\nMaintainer: a test <a@b.c>\nDescription: x\n"
        member = tarfile.TarInfo("./control")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": control.getvalue(), f"data.tar.{suffix}": data.getvalue()}
    with file.open("wb") as stream:
        stream.write(b"!<arch>\n")
        for name, content in members.items():
            stream.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode())
            stream.write(content + b"\n" * (len(content) % 2))


def contents(name: str) -> dict[str, bytes]:
    return {
        f"./usr/share/openclipart/png/{name}.png": b"image of " + name.encode(),
        f"./usr/share/doc/{name}/copyright": b"public domain",
        f"./usr/bin/{name}": b"no image",
    }
