"""Frames in, results out: sources, decoding, batching, sinks and checkpoints."""
