"""Frames from live cameras, video files and folders."""
