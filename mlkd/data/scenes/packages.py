"""The image packages of the demo data, in the versions that were tested."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    """A package; `digest` is that of its unpacked images, see mlkd.data.scenes.unpack."""

    name: str
    version: str
    bytes: int
    sha256: str
    digest: str


PACKAGES = (
    Package(
        name="tuxpaint-stamps-default",
        version="2022.06.04-1",
        bytes=160_880_444,
        sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
        digest="028758898d7a95bc219d026b43d2929bed35598cd9483efe2edbaecc7957e8b2",
    ),
    Package(
        name="openclipart-png",
        version="1:0.18+dfsg-19",
        bytes=130_910_028,
        sha256="f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02",
        digest="5e630a98e33e408f1282b64fbf3ccf68766fbda3250c43057ffef12704f5cf57",
    ),
    Package(
        name="mate-backgrounds",
        version="1.26.0-1",
        bytes=46_638_500,
        sha256="7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04",
        digest="92466e7c569234e917732de83123d42b16ff41480ae8de510572c4238ef80c58",
    ),
    Package(
        name="lomiri-wallpapers-16.04",
        version="20.04.0-2",
        bytes=15_783_184,
        sha256="a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab",
        digest="45cb0f2c3e0ee1cc6e2a2641476f5f8a4b1350fdbecfb8224cf7a7dacb5498ea",
    ),
    Package(
        name="lomiri-wallpapers-20.04",
        version="20.04.0-2",
        bytes=11_377_208,
        sha256="d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709",
        digest="b3e076fcd62bfa119e584b29eedff01d988e87ecb1579786655f7652a059241f",
    ),
)
