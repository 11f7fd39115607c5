"""A foreign teacher: any ONNX tagger that has the labels of the data."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mlkd.core.json_text import parse_json
from mlkd.core.labels import Labels
from mlkd.core.onnx_data import check_data
from mlkd.losses.base import Need
from mlkd.models.outputs import Outputs
from mlkd.teachers.base import Aspects, ImagesBySize, SingleTeacher, find_columns, pad_images

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

CLIP = 1e-6  # distance of scores from 0 and 1: a float32 score closer to 1 does not determine its logit
ENOUGH_VALUES = 64  # so many logits are never all in 0..1
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16"}
_ERRORS_ONLY = 3  # log severity of ONNX Runtime


@dataclass(frozen=True, kw_only=True)
class OnnxTeacher:
    """A graph with one input, a batch of images, and an output (B, K); it provides only logits.

    A uint8 graph gets the pixels, a float graph (values - mean) / std, where white is `white`.  Its columns are found
    by the label names in the file `labels` (one per line, or JSON), else in its metadata "labels".  Without names,
    `labels_in_order` says that its columns are the labels of the data in their order.

    Raises:
        ValueError: A value is out of range.
    """

    kind: Literal["onnx"] = "onnx"
    path: Path = field(metadata={"identity": False})  # the content of the file is what counts
    image_px: int
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    channels: Literal["rgb", "bgr"] = "rgb"
    white: Literal[1, 255] = 1  # the largest value of a float input, before mean and std
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    padding: Literal["none", "center", "corner"] = "none"  # to a square, the image in its middle or top left corner
    padding_value: int = 0  # 0..255, of all channels
    output: Literal["scores", "logits"] = "scores"
    output_name: str | None = None  # the one to use of several outputs (B, K)
    labels: Path | None = field(default=None, metadata={"identity": False})
    labels_in_order: bool = False

    provides: ClassVar[frozenset[Need]] = frozenset({"teacher"})

    def __post_init__(self) -> None:
        if not 16 <= self.image_px <= 4096:
            raise ValueError(f"image_px: expected 16..4096, got {self.image_px}")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or min(self.std) <= 0:
            raise ValueError(f"std: expected finite means and deviations above 0, got {self.mean} and {self.std}")
        if not 0 <= self.padding_value <= 255:
            raise ValueError(f"padding_value: expected 0..255, got {self.padding_value}")

    def files(self) -> tuple[Path, ...]:
        """The files whose content decides the outputs."""
        return (self.path,) if self.labels is None else (self.path, self.labels)

    def load(self, labels: Labels | None) -> SingleTeacher:
        """Open the graph with ONNX Runtime; without `labels`, its own labels are the columns.

        Raises ValueError for other labels and for a graph that does not match this description.
        """
        session = _open(self.path)
        names = self._names(session)
        if names is None and labels is not None and self.labels_in_order:
            names = labels.names
        if not names:
            raise ValueError(
                f"teacher {self.path}: expected the names of its labels, got none; name a file with `labels`, or set "
                "`labels_in_order: true` if its columns are the labels of the data in their order"
            )
        output = self._output(session, len(names))
        columns = find_columns(self.path, names, labels or Labels(names))
        return _LoadedGraph(self, session, self._input_type(session), output, columns, len(names))

    def _names(self, session: Any) -> tuple[str, ...] | None:
        stored = session.get_modelmeta().custom_metadata_map.get("labels")
        if self.labels is None and not stored:
            return None
        try:
            text = stored if self.labels is None else self.labels.read_text(encoding="utf-8-sig")
            return _read_names(text, as_json=self.labels is None or self.labels.suffix == ".json")
        except ValueError as cause:
            where = self.labels or f'{self.path}, metadata "labels"'
            raise ValueError(f"{where}: expected UTF-8 names, one per line or as a JSON list, got: {cause}") from cause

    def _output(self, session: Any, labels: int) -> str:
        """The name of the output (B, labels): `output_name`, or the only one."""
        outputs = session.get_outputs()
        matrices = [node for node in outputs if len(node.shape) == 2 and self.output_name in (None, node.name)]
        fitting = [node.name for node in matrices if not isinstance(node.shape[1], int) or node.shape[1] == labels]
        if len(fitting) != 1:
            listed = ", ".join(f"{node.name} {node.shape}" for node in outputs)
            named = f" named {self.output_name}" if self.output_name is not None else ""
            raise ValueError(
                f"teacher {self.path}: expected one output{named} (B, {labels}) for its {labels} labels, got {listed}; "
                "correct the names of its labels, or choose an output with output_name: NAME"
            )
        return str(fitting[0])

    def _input_type(self, session: Any) -> str:
        """The type of the input; its shape is checked."""
        inputs = session.get_inputs()
        shape = (self.image_px,) * 2 + (3,) if self.layout == "NHWC" else (3,) + (self.image_px,) * 2
        listed = ", ".join(f"{node.type} {node.shape}" for node in inputs)
        fits = len(inputs) == 1 and inputs[0].type in _TYPES and len(inputs[0].shape) == 4
        if not fits or any(isinstance(n, int) and n != m for n, m in zip(inputs[0].shape[1:], shape, strict=True)):
            raise ValueError(
                f"teacher {self.path}: expected one input of uint8, float or float16 (B, {shape[0]}, {shape[1]}, "
                f"{shape[2]}), got {listed}; correct layout or image_px"
            )
        dtype = _TYPES[inputs[0].type]
        if dtype == "uint8" and (self.mean, self.std, self.white) != ((0.0,) * 3, (1.0,) * 3, 1):
            raise ValueError(
                f"teacher {self.path}: expected no mean, std and white for a graph that reads uint8, got {self.mean}, "
                f"{self.std} and {self.white}; leave them out"
            )
        return dtype


def _read_names(text: str, *, as_json: bool) -> tuple[str, ...]:
    """Names in the order of their columns; JSON may map names to columns or columns to names."""
    names = parse_json(text) if as_json else [line for line in text.splitlines() if line.strip()]
    if isinstance(names, dict):
        to_columns = all(type(column) is int for column in names.values())
        by_column = {str(column): name for name, column in names.items()} if to_columns else names
        columns = [str(column) for column in range(len(names))]
        if sorted(by_column) != sorted(columns):
            raise ValueError(f"keys or values that are not 0 to {len(names) - 1}")
        names = [by_column[column] for column in columns]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"{type(names).__name__} instead of a list of names")
    return tuple(name.strip() for name in names)


@dataclass(frozen=True)
class _LoadedGraph:
    config: OnnxTeacher
    session: Any
    dtype: str
    output: str
    columns: list[int]
    label_count: int

    @property
    def runs_on(self) -> str:
        return str(self.session.get_providers()[0])

    @property
    def pads(self) -> bool:
        return self.config.padding != "none"

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.config.image_px,)

    def __call__(self, inputs: ImagesBySize, aspects: Aspects | None = None, /) -> Outputs:
        import torch

        pixels = inputs[self.config.image_px].numpy()
        if self.pads:
            assert aspects is not None, "the caller has checked `pads`"
            pixels = pad_images(pixels, aspects, self.config.padding_value, corner=self.config.padding == "corner")
        logits = self._logits(self._run(self._values(pixels)))
        return Outputs(logits=torch.from_numpy(logits[:, self.columns]))

    def _values(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """The input of the graph for pixels (B, H, W, 3)."""
        import numpy as np

        values: NDArray[Any] = pixels if self.config.channels == "rgb" else pixels[..., ::-1]
        if self.dtype != "uint8":
            mean, std = (np.array(three, np.float32) for three in (self.config.mean, self.config.std))
            values = ((values.astype(np.float32) / (255 / self.config.white) - mean) / std).astype(self.dtype)
        return np.ascontiguousarray(values if self.config.layout == "NHWC" else values.transpose(0, 3, 1, 2))

    def _run(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """The output (B, L); a graph with a fixed batch size runs in parts, the last one filled up."""
        import numpy as np

        node = self.session.get_inputs()[0]
        size = node.shape[0] if isinstance(node.shape[0], int) else len(images)
        parts = []
        for start in range(0, len(images), size):
            part = images[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            try:
                parts.append(self.session.run([self.output], {node.name: filled})[0][: len(part)])
            except Exception as cause:  # ONNX Runtime's exceptions have no common base class
                raise ValueError(f"teacher {self.config.path}: expected scores, got: {cause}") from cause
        values = np.concatenate(parts).astype(np.float32)
        if values.shape != (len(images), self.label_count):
            raise ValueError(
                f"teacher {self.config.path}: expected {self.label_count} labels, got an output {values.shape}"
            )
        return values

    def _logits(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        low, high = float(values.min()), float(values.max())
        if self.config.output == "logits":
            if values.size >= ENOUGH_VALUES and low >= 0 and high <= 1:
                raise ValueError(
                    f"teacher {self.config.path}: expected logits, got {values.size} values that all lie in 0..1: "
                    "scores; set output: scores"
                )
            return values
        if low < 0 or high > 1 + 1e-6:
            raise ValueError(
                f"teacher {self.config.path}: expected scores in 0..1, got {low:.4g}..{high:.4g}; set output: logits"
            )
        return torch.from_numpy(values).logit(CLIP).numpy()


def _open(path: Path) -> Any:
    """A session on CUDA where the machine and ONNX Runtime have it, else on the CPU."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = torch.get_num_threads()
    cuda = torch.cuda.is_available() and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if cuda:
        onnxruntime.preload_dlls()
    wanted = "CUDAExecutionProvider" if cuda else "CPUExecutionProvider"
    settings = {"device_id": torch.cuda.current_device()} if cuda else {}  # of this process
    try:
        check_data(path)
        session = onnxruntime.InferenceSession(str(path), options, providers=[wanted], provider_options=[settings])
    except Exception as cause:  # ONNX Runtime's exceptions have no common base class
        raise ValueError(f"teacher {path}: expected a graph for ONNX Runtime, got: {cause}; choose another") from cause
    if session.get_providers()[0] != wanted:
        raise ValueError(f"teacher {path}: expected to run on {wanted}, got {session.get_providers()}; fix the driver")
    log.info("teacher %s runs on %s", path, wanted)
    return session
