"""Names that attack what reads them, names that no label may have, and a bundle whose labels are the former."""

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from export.backends import OnnxRuntime
from export.bundle.bundle import Parts, write_bundle
from export.bundle.description import describe
from export.bundle.golden import Golden, write_golden
from mlkd.core.labels import LONGEST
from tests.helpers import bundles

MARKER = "hostile-ran"  # what a shell would create
NAMES = {
    "quotes": 'it\'s "so" `x`',
    "script": "<script>console.error('ran')</script>",
    "handler": "\"'><img src=x onerror=console.error('ran')>",
    "markup": "&lt;b&gt; &amp; ]]> <!-- -->",
    "markdown": "[a](javascript:console.error('ran')) **b** | c _d_ # e",
    "templates": "{{ 7*7 }} {% raw %} {0.__class__} %s %n ${7*7}",
    "command formula": "=cmd|' /C calc'!A0",
    "function formula": "@SUM(A1:A9)",
    "number formula": "+1",
    "option": "-rf",
    "shell": f"$(touch {MARKER}); `touch {MARKER}` | touch {MARKER} & touch {MARKER}",
    "path": f"../../{MARKER}",
    "absolute path": "/etc/passwd",
    "separators": 'a;b,c|d/e\\f";"',
    "verdict": "?cat",
    "absent": "!cat",
    "apostrophe": "'cat'",
    "number": "007",
    "null": "null",
    "right to left": "\u200fשלום\u200e",
    "override": "\u202egnp.exe\u2066",
    "emoji": "👩‍👩‍👧 🇩🇪",
    "combining": "e\u0301" + "\u0335" * 40,
    "invisible": "a\u200bb",
    "spaces": "two  spaces\u00a0wide",
    "long": "x" * LONGEST,
}
REFUSED = {  # a name, and what the error says of it
    "newline": ("a\nb", "U+000A"),
    "tab": ("a\t=1+1", "U+0009"),
    "escape": ("a\x1b[2J", "U+001B"),
    "bell": ("a\x07", "U+0007"),
    "nul": ("a\x00b", "U+0000"),
    "c1": ("a\x9b2J", "U+009B"),
    "line separator": ("a\u2028b", "U+2028"),
    "surrogate": ("a\udcffb", "U+DCFF"),
    "no character": ("a\ufffeb", "U+FFFE"),
    "too long": ("x" * (LONGEST + 1), f"{LONGEST + 1} characters"),
}
FILES = (  # of images, as bytes
    b"two\nlines.png", b"esc\x1b[2J\x1b]0;x\x07.png", b"'q' \"q\" `q`.png",
    b"<img src=x onerror=console.error('ran')>.png", b"=cmd|' C calc'!A0.png", b"+1.png", b"@SUM(A1).png", b"\t=1.png",
    b"-rf.png", b"--help.png", b"-esc\x1b[2J.png", b"'x.png", b"?x.png", b"*[a-z]?.png", b"a;b,c|d.png", b"a\\b.png",
    b"$(touch hostile-ran);`touch hostile-ran`|touch hostile-ran.png", b"{{ 7*7 }} %s {0}.png", b" outer .png",
    "\u202egnp.exe.png".encode(), "\u200fשלום.png".encode(), "👩‍👩‍👧.png".encode(), "e\u0301\u0335.png".encode(),
    b"x" * 247 + b".png",
)  # fmt: skip
NOT_UTF8 = b"\xff\xfe.png"
ENGINE = "onnxruntime-fp32"


def write_images(folder: Path, *names: bytes) -> list[Path]:
    """A red image for each name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / os.fsdecode(name) for name in names]
    for file in files:
        Image.new("RGB", (8, 8), (255, 0, 0)).save(file)
    return files


def write_colours(folder: Path, work: Path, labels: Sequence[str] = tuple(NAMES.values())) -> Path:
    """A bundle in which label number n has a high score where the image is red, green or blue, by n modulo 3."""
    work.mkdir(parents=True)
    model, count, backend = (
        bundles.write_onnx(work / "fp32.onnx", labels=len(labels)),
        len(labels),
        OnnxRuntime(threads=1),
    )
    files = backend.files(backend.compile(model, work))
    engine, paths = files[0], tuple(f"models/{file.name}" for file in files)
    thresholds = (0.5,) * count
    with backend.open(engine) as session:
        images = list(bundles.write_images(work / "images").values())
        golden, expected = write_golden(
            images, bundles.PX, work / "golden", {ENGINE: session}, labels=labels, thresholds={ENGINE: thresholds}
        )
    entry = bundles.engine(
        ENGINE, backend, paths, engine, thresholds=thresholds, expected_precision=(0.9,) * count,
        expected_recall=(0.7,) * count, tune_ap=(0.9,) * count,
    )  # fmt: skip
    inside = {f"golden/{path.name}": path for path in (*golden, expected)}
    content = bundles.manifest(
        entry, labels=tuple(labels), tune_positives=(5,) * count,
        golden=tuple(inside)[:-1], golden_expected=tuple(inside)[-1],
    )  # fmt: skip
    (work / "tagger.json").write_text(describe(content, Golden.read(work, content)), encoding="utf-8")
    sources = {
        **inside,
        **dict(zip(paths, files, strict=True)),
        "models/fp32.onnx": model,
        "tagger.json": work / "tagger.json",
    }
    write_bundle(Parts(manifest=content, sources=sources), folder)
    return folder
