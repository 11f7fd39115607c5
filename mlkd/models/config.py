"""The configuration of a tagger: backbone, head and initial weights; without torch, which takes seconds to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlkd.models.heads import Head, LabelDecoder
from mlkd.models.weights import PackageWeights, RandomWeights, TrainedWeights, Weights

if TYPE_CHECKING:
    from mlkd.core.labels import Labels
    from mlkd.models.network import TaggerNet


@dataclass(frozen=True, kw_only=True)
class Model:
    """Configuration of a tagger.

    Raises:
        ValueError: The size is out of range, or the weights are of another backbone.
    """

    backbone: str
    image_px: int
    stages: int | None = field(
        default=None, metadata={"identity": "unless none"}
    )  # how many the backbone keeps, from the stem; stage k ends at 1/2^k of the image's side; default: all
    expansion: float | None = field(
        default=None, metadata={"identity": "unless none"}
    )  # share of the inner channels of each inverted residual block that is kept; default: all
    weights: Weights = field(default_factory=RandomWeights)
    head: Head = field(default_factory=LabelDecoder)

    def __post_init__(self) -> None:
        if not 16 <= self.image_px <= 4096:
            raise ValueError(f"model.image_px: expected 16..4096, got {self.image_px}")
        if self.expansion is not None and not 0.05 <= self.expansion < 1:
            raise ValueError(
                f"model.expansion: expected 0.05 to below 1, got {self.expansion}; leave it out for all channels"
            )
        if isinstance(self.weights, PackageWeights):
            self.weights.check_backbone(self.backbone)

    @property
    def name(self) -> str:
        """The backbone, and what is kept of it."""
        stages = f"{self.stages} stages" if self.stages is not None else ""
        expansion = f"expansion {self.expansion:g}" if self.expansion is not None else ""
        kept = ", ".join(filter(None, (stages, expansion)))
        return f"{self.backbone} ({kept})" if kept else self.backbone

    def build(self, labels: int, *, pretrained: bool = True) -> TaggerNet:
        """Build the module; new weights come from torch's global random state.

        Args:
            labels: Number of labels.
            pretrained: Whether to load `weights`; False where the tensors of a checkpoint follow.

        Raises:
            ValueError: timm has no such backbone, the backbone always pools or does not accept `image_px` or
                has no such `stages` or no blocks for `expansion`, or the weights do not fit.
        """
        from mlkd.models.backbone import create
        from mlkd.models.narrowed import narrow
        from mlkd.models.network import TaggerNet
        from mlkd.models.truncated import truncate

        backbone = create(self.backbone, self.image_px)
        weights = self.weights if pretrained else RandomWeights()
        normalisation = weights.load_into(backbone, self.backbone, self.image_px)  # checked on the whole backbone
        if self.stages is not None:
            truncate(backbone, self.backbone, self.image_px, self.stages)
        if self.expansion is not None:
            narrow(backbone, self.backbone, self.expansion)
        return TaggerNet(self.backbone, self.image_px, self.head, backbone, labels, *normalisation)

    def build_for(self, labels: Labels) -> TaggerNet:
        """Build the module with `weights`, also those of a trained head.  Raises ValueError as `build`."""
        tagger = self.build(len(labels))
        if isinstance(self.weights, TrainedWeights):
            self.weights.load_model_into(tagger, labels)
        return tagger
