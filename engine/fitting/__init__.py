"""From images of good parts to a memory bank with a threshold."""
