"""Metrics and logs of a worker."""
