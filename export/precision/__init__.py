"""Precision as a graph: one file a precision, one calibration set for all."""
