"""Figures measured side by side with peers, in one run: `python -m tests.bench` (or `make bench`)."""
