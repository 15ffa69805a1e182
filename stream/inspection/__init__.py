"""Batches, and the thread that owns the engine."""
