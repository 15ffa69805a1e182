"""The memory bank, its calibration, and the chain of its generations on disk or object storage."""
