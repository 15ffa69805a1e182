"""The service: assembled from settings, checked before it starts, run and stopped."""
