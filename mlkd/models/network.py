"""The tagger network: a timm backbone and a label-wise head, with the normalisation inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mlkd.models.backbone import channels, grid, memory_format, tokens
from mlkd.models.heads import Head
from mlkd.models.outputs import Outputs


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set a model to eval mode, and each of its modules back to its own mode at the end."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


class TaggerNet(nn.Module):
    """uint8 images (B, H, W, 3) to Outputs; the first operation is a cast, as TensorRT's parser requires."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        image_px: int,
        head: Head,
        backbone: nn.Module,
        labels: int,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
    ) -> None:
        super().__init__()
        self.image_px = image_px
        self.backbone_name = name
        self.register_buffer("mean", torch.tensor(mean) * 255)
        self.register_buffer("std", torch.tensor(std) * 255)
        self.backbone = backbone
        self.memory_format = memory_format(name)
        self.head = head.build(channels(backbone, name, image_px), labels)

    def forward(
        self,
        images: UInt8[Tensor, "B H W 3"],
        *,
        features: bool = False,
        label_maps: bool = False,
        last_map: bool = False,
    ) -> Outputs:
        """Compute logits, embeddings and pooled features.

        Args:
            images: RGB values in 0..255.
            features: Whether to return the last stage maps too, at most four.
            label_maps: Whether to return the logits of each position too.
            last_map: Whether to return the last of the stage maps too.

        Raises:
            ValueError: `features` or `last_map` is set and the backbone has no stage maps, or `label_maps` and its
                positions are no rectangle.
        """
        wanted = {"features": features, "label_maps": label_maps, "last_map": last_map}
        return self.outputs(self.backbone, self.normalise(images), **wanted)

    def normalise(self, images: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
        """Return the images as the backbone reads them."""
        # permuted first, as runtimes are slow where the three channels are the last axis
        values = images.float().permute(0, 3, 1, 2)
        values = (values - self.mean[:, None, None]) / self.std[:, None, None]
        return values.contiguous(memory_format=self.memory_format)

    def outputs(
        self,
        backbone: nn.Module,
        inputs: Float[Tensor, "B ..."],
        *,
        features: bool = False,
        label_maps: bool = False,
        last_map: bool = False,
    ) -> Outputs:
        """Compute what `forward` does from the inputs of the backbone, or of a part of it that ends alike."""
        staged = features or last_map
        last, maps = self._with_stage_maps(backbone, inputs) if staged else (backbone(inputs), ())
        positions = tokens(last, backbone)
        outputs: Outputs = self.head(positions)
        head: Any = self.head
        return Outputs(
            logits=outputs.logits,
            embeddings=outputs.embeddings,
            pooled=positions.mean(1),
            features=maps if features else None,
            label_maps=head.label_maps(positions).unflatten(2, grid(last, backbone)) if label_maps else None,
            last_map=maps[-1] if last_map else None,
        )

    def stage_shapes(self, *, trainable: bool = False) -> tuple[tuple[int, int, int], ...]:
        """(C, H, W) of the stage maps, shallow first.

        Args:
            trainable: Whether to leave out the maps that do not depend on a trainable parameter.

        Raises:
            ValueError: The backbone has no stage maps.
        """
        images = torch.zeros(1, self.image_px, self.image_px, 3, dtype=torch.uint8, device=self.mean.device)
        with evaluating(self), torch.set_grad_enabled(trainable):
            maps = self(images, features=True).features
        return tuple((m.shape[1], m.shape[2], m.shape[3]) for m in maps if m.requires_grad or not trainable)

    def _with_stage_maps(self, backbone: Any, inputs: Float[Tensor, "B ..."]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The result of the backbone, and the maps (B, C, H, W) of its last four stages."""
        if not hasattr(backbone, "forward_intermediates"):
            raise ValueError(
                f"features: expected a backbone with timm's forward_intermediates, got {self.backbone_name}; "
                "choose another backbone, or a loss that needs no stage maps"
            )
        last, maps = backbone.forward_intermediates(inputs, output_fmt="NCHW")
        kept = len(backbone.feature_info)  # behind these, a truncated backbone may give its last map again
        return backbone.forward_head(last), tuple(maps[:kept][-4:])
