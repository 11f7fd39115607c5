"""A teacher from elsewhere: any ONNX tagger that has the labels of the data."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mlkd.core.labels import Labels
from mlkd.losses.base import Need
from mlkd.models.outputs import Outputs
from mlkd.teachers.base import Aspects, ImagesBySize, SingleTeacher, columns, padded

log = logging.getLogger(__name__)

CLIPPED = 1e-6  # scores nearer to 0 or 1: a float32 score that near to 1 says little about its logit
ENOUGH = 64  # logits of which some are below 0 or above 1
_TYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32, "tensor(float16)": np.float16}
_ERRORS_ONLY = 3  # onnxruntime's log severity


@dataclass(frozen=True, kw_only=True)
class OnnxTeacher:
    """A graph with one input, a batch of images, and an output (B, K); it teaches by its logits alone.

    A graph for uint8 is given the pixels as they are, one for floats (values - mean) / std, where white is `white`.
    Its columns are taken by the names of its labels: those of `labels` (one a line, or a JSON list), else of its own
    metadata "labels".  Without names it is refused, unless `labels_in_order`: it has the data's, in their order.
    """

    kind: Literal["onnx"] = "onnx"
    path: Path = field(metadata={"identity": False})  # what lies there decides
    image_px: int
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    channels: Literal["rgb", "bgr"] = "rgb"
    white: Literal[1, 255] = 1  # the largest value of an input of floats, before mean and std
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    padding: Literal["none", "center", "corner"] = "none"  # to a square: the image in the middle, or top left
    padding_value: int = 0  # 0..255, of all channels
    output: Literal["scores", "logits"] = "scores"
    output_name: str | None = None  # of several outputs (B, K) the one to take
    labels: Path | None = field(default=None, metadata={"identity": False})
    labels_in_order: bool = False

    gives: ClassVar[frozenset[Need]] = frozenset({"teacher"})

    def __post_init__(self) -> None:
        if not 16 <= self.image_px <= 4096:
            raise ValueError(f"image_px: expected 16..4096, got {self.image_px}")
        if not np.isfinite(self.mean).all() or not np.isfinite(self.std).all() or min(self.std) <= 0:
            raise ValueError(f"std: expected finite means and deviations above 0, got {self.mean} and {self.std}")
        if not 0 <= self.padding_value <= 255:
            raise ValueError(f"padding_value: expected 0..255, got {self.padding_value}")

    def files(self) -> tuple[Path, ...]:
        """What it is made of."""
        return (self.path,) if self.labels is None else (self.path, self.labels)

    def load(self, labels: Labels | None) -> SingleTeacher:
        """The graph, opened by ONNX Runtime; without `labels` for its own.

        Raises ValueError for other labels and for a graph of another form.
        """
        session = _opened(self.path)
        found = self._names(session)
        names = labels.names if found is None and labels is not None and self.labels_in_order else found
        if not names:
            raise ValueError(
                f"teacher {self.path}: expected the names of its labels, got none; name a file with `labels`, or say "
                "`labels_in_order: true` if its columns are the labels of the data in their order"
            )
        output, chosen = self._output(session, len(names)), columns(self.path, names, labels or Labels(names))
        return _Graph(self, session, self._input_type(session), output, chosen, len(names))

    def _names(self, session: Any) -> tuple[str, ...] | None:
        kept = session.get_modelmeta().custom_metadata_map.get("labels")
        if self.labels is None and not kept:
            return None
        try:
            text = kept if self.labels is None else self.labels.read_text(encoding="utf-8-sig")
            return _listed(text, as_json=self.labels is None or self.labels.suffix == ".json")
        except ValueError as cause:
            where = self.labels or f'{self.path}, metadata "labels"'
            raise ValueError(f"{where}: expected names in UTF-8, one a line or as a JSON list, got: {cause}") from cause

    def _output(self, session: Any, labels: int) -> str:
        """The output that can be (B, labels): the one that was named, or the only one."""
        outputs = session.get_outputs()
        of_two = [one for one in outputs if len(one.shape) == 2 and self.output_name in (None, one.name)]
        fitting = [one.name for one in of_two if not isinstance(one.shape[1], int) or one.shape[1] == labels]
        if len(fitting) != 1:
            listed = ", ".join(f"{one.name} {one.shape}" for one in outputs)
            named = f" named {self.output_name}" if self.output_name is not None else ""
            raise ValueError(
                f"teacher {self.path}: expected one output{named} (B, {labels}) for its {labels} labels, got {listed}; "
                "correct the names of its labels, or choose an output with output_name: NAME"
            )
        return str(fitting[0])

    def _input_type(self, session: Any) -> Any:
        """What the input holds, once its shape fits this description."""
        given = session.get_inputs()
        shape = (self.image_px,) * 2 + (3,) if self.layout == "NHWC" else (3,) + (self.image_px,) * 2
        told = ", ".join(f"{one.type} {one.shape}" for one in given)
        fits = len(given) == 1 and given[0].type in _TYPES and len(given[0].shape) == 4
        if not fits or any(isinstance(n, int) and n != m for n, m in zip(given[0].shape[1:], shape, strict=True)):
            raise ValueError(
                f"teacher {self.path}: expected one input of uint8, float or float16 (B, {shape[0]}, {shape[1]}, "
                f"{shape[2]}), got {told}; correct layout or image_px"
            )
        dtype = _TYPES[given[0].type]
        if dtype is np.uint8 and (self.mean, self.std, self.white) != ((0.0,) * 3, (1.0,) * 3, 1):
            raise ValueError(
                f"teacher {self.path}: expected no mean, std and white for a graph that reads uint8, got {self.mean}, "
                f"{self.std} and {self.white}; leave them out"
            )
        return dtype


def _listed(text: str, *, as_json: bool) -> tuple[str, ...]:
    """Names in the order of their columns; JSON may also give a column for every name, or a name for every column."""
    found = json.loads(text) if as_json else [line for line in text.splitlines() if line.strip()]
    if isinstance(found, dict):
        pairs = found.items()
        by_column = {str(at): name for name, at in pairs} if all(type(at) is int for at in found.values()) else found
        columns = [str(at) for at in range(len(found))]
        if sorted(by_column) != sorted(columns):
            raise ValueError(f"keys or values that are not 0 to {len(found) - 1}")
        found = [by_column[at] for at in columns]
    if not isinstance(found, list) or not all(isinstance(name, str) and name.strip() for name in found):
        raise ValueError(f"{type(found).__name__} instead of a list of names")
    return tuple(name.strip() for name in found)


@dataclass(frozen=True)
class _Graph:
    source: OnnxTeacher
    session: Any
    dtype: Any
    output: str
    columns: list[int]
    width: int

    @property
    def runs_on(self) -> str:
        return str(self.session.get_providers()[0])

    @property
    def pads(self) -> bool:
        return self.source.padding != "none"

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.source.image_px,)

    def __call__(self, inputs: ImagesBySize, aspects: Aspects | None = None, /) -> Outputs:
        pixels = inputs[self.source.image_px].numpy()
        if self.pads:
            assert aspects is not None, "whoever calls it asks `pads`"
            pixels = padded(pixels, aspects, self.source.padding_value, corner=self.source.padding == "corner")
        logits = self._logits(self._run(self._values(pixels)))
        return Outputs(logits=torch.from_numpy(logits[:, self.columns]))

    def _values(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Pixels (B, H, W, 3) as the graph reads them."""
        values: NDArray[Any] = pixels if self.source.channels == "rgb" else pixels[..., ::-1]
        if self.dtype is not np.uint8:
            mean, std = (np.array(three, np.float32) for three in (self.source.mean, self.source.std))
            values = ((values.astype(np.float32) / (255 / self.source.white) - mean) / std).astype(self.dtype)
        return np.ascontiguousarray(values if self.source.layout == "NHWC" else values.transpose(0, 3, 1, 2))

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """The output (B, L); in parts of the size that the graph fixes, the last one filled up."""
        entry = self.session.get_inputs()[0]
        size = entry.shape[0] if isinstance(entry.shape[0], int) else len(images)
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            try:
                parts.append(self.session.run([self.output], {entry.name: filled})[0][: len(part)])
            except Exception as cause:  # its exceptions share no base class of their own
                raise ValueError(f"teacher {self.source.path}: expected scores, got: {cause}") from cause
        values = np.concatenate(parts).astype(np.float32)
        if values.shape != (len(images), self.width):
            raise ValueError(f"teacher {self.source.path}: expected {self.width} labels, got an output {values.shape}")
        return values

    def _logits(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        low, high = float(values.min()), float(values.max())
        if self.source.output == "logits":
            if values.size >= ENOUGH and low >= 0 and high <= 1:
                raise ValueError(
                    f"teacher {self.source.path}: expected logits, got {values.size} values that all lie in 0..1: "
                    "scores; set output: scores"
                )
            return values
        if low < 0 or high > 1 + 1e-6:
            raise ValueError(
                f"teacher {self.source.path}: expected scores in 0..1, got {low:.4g}..{high:.4g}; set output: logits"
            )
        logits: NDArray[np.float32] = torch.from_numpy(values).logit(CLIPPED).numpy()
        return logits


def _opened(path: Path) -> Any:
    """A session on CUDA where this machine and this ONNX Runtime have it, else on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    cuda = torch.cuda.is_available() and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if cuda:
        onnxruntime.preload_dlls()
    wanted = "CUDAExecutionProvider" if cuda else "CPUExecutionProvider"
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[wanted])
    except Exception as cause:  # its exceptions share no base class of their own
        raise ValueError(f"teacher {path}: expected a graph for ONNX Runtime, got: {cause}; choose another") from cause
    if session.get_providers()[0] != wanted:
        raise ValueError(f"teacher {path}: expected to run on {wanted}, got {session.get_providers()}; mend the driver")
    log.info("teacher %s runs on %s", path, wanted)
    return session
