"""Pixels to patch embeddings: preprocessing, a pretrained network up to its last tapped stage, patches."""
