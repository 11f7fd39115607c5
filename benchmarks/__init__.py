"""MEASURES: latency, accuracy and the report; never imports torch."""
