"""Folders of images, inspected and evaluated without a service."""
