"""Doors: functions that let bytes of others into the product, one for each kind of file or message."""

from __future__ import annotations

from importlib import import_module

from scripts.torture.doors.door import Door

NAMES = {  # module -> its doors
    "images": ("image", "large_image"),
    "annotations": (
        *("coco", "voc", "nuswide", "table", "json_lines", "label_names", "corrections"),
        *("shards", "shard_facts", "dataset"),
    ),
    "configs": ("recipe", "devices"),
    "bundles": ("manifest", "golden", "engine_stamp", "signed"),
    "devices": ("answer", "report"),
    "requests": ("request",),
    "sidecars": ("sidecar", "embedded_xmp"),
    "results": ("stage", "trained", "weights", "epochs", "labels", "times", "watched"),
}
DOORS = {door: module for module, doors in NAMES.items() for door in doors}


def find_door(name: str) -> Door:
    """The door of a name; imports what lies behind it."""
    door: Door = getattr(import_module(f"{__name__}.{DOORS[name]}"), name)
    return door
