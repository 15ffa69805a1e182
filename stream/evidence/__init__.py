"""Rejected frames kept by their id, and explained."""
