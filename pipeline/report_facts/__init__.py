"""What the report shows besides measured rows: what distillation gave, test images, the check of the measurement."""
