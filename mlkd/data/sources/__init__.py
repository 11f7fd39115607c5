"""Readers of data sets on disk: COCO, Pascal VOC, NUS-WIDE, and a folder of the user."""
