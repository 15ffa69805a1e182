"""The HTTP port of a worker, and its client."""
