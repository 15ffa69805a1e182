"""Real services for the tests: each is started on a free port, and stopped with its data removed."""
