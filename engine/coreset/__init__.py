"""Greedy coresets: exact k-centre offline, and online admission, thinning and removal."""
