"""Torch-free foundations that ship to the device: labels, images, metrics, thresholds, files."""
