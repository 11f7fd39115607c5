"""Graphs of lower precision: one file a precision, one calibration set for all."""
