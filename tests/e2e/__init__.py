"""The service as it is installed, with real servers on both sides."""
