"""Encoded images to what the engine inspects, and frames that come by reference."""
