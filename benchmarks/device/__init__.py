"""What measures on the device; torch-free, part of tagger.pyz."""
