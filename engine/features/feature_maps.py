"""Brings what a network's stages give to one layout, (B, C, h, w), for transformers too.

Swin gives maps with channels last. ViT gives tokens: first some that belong to no part of the image (the class,
registers), then one for each square of the image, row by row.
"""

import torch
from torch import Tensor, fx

from patchline.engine.errors import RecipeError

TRIAL_PX = 224
"""Side of the square image by which the layout is found: the size that most networks of one fixed size take."""
BORDER = 3
"""Cells by which a map may be larger or smaller than the image's proportions, as borders are padded or left out."""
SQUARES_PX = (8, 14, 16, 32)
"""Sides of the squares that tokens stand for."""
EXTRA_TOKENS = 8
"""The most tokens that belong to no part of the image."""


def channels_first(graph: fx.GraphModule) -> None:
    """Change a network, whose output is a tuple, so that maps with channels last come out with channels first."""
    device = next(graph.parameters()).device
    try:
        with torch.no_grad():
            outputs = graph(torch.zeros(1, 3, TRIAL_PX, TRIAL_PX, device=device))
    except (RuntimeError, AssertionError, ValueError):  # it takes another size; `as_map` then checks what it gives
        return
    last = next(node for node in graph.graph.nodes if node.op == "output")
    permuted = []
    with graph.graph.inserting_before(last):
        for node, output in zip(last.args[0], outputs, strict=True):
            shape = output.shape
            is_last = (
                len(shape) == 4 and shape[1] == shape[2] and not _proportioned(shape[2], shape[3], (TRIAL_PX,) * 2)
            )
            permuted.append(graph.graph.call_method("permute", (node, 0, 3, 1, 2)) if is_last else node)
    last.args = (tuple(permuted),)
    graph.recompile()


def as_map(output: Tensor, size_px: tuple[int, int], stage: str) -> Tensor:
    """A stage's output for images of `size_px`, (H, W), as (B, C, h, w); a view of it.

    Raises:
        RecipeError: it is neither a map nor tokens.
    """
    if output.dim() == 4 and _proportioned(output.shape[2], output.shape[3], size_px):
        return output
    if output.dim() == 3:
        B, tokens, C = output.shape
        for side in SQUARES_PX:
            h, w = size_px[0] // side, size_px[1] // side
            if 0 <= tokens - h * w <= EXTRA_TOKENS:
                return output[:, tokens - h * w :].transpose(1, 2).reshape(B, C, h, w)
    raise RecipeError(
        f"stage {stage!r} gives {tuple(output.shape)} for an image of {size_px[0]} x {size_px[1]} px; "
        f"expected a map (B, C, h, w) of its proportions, or tokens (B, h*w, C)"
    )


def _proportioned(h: int, w: int, size_px: tuple[int, int]) -> bool:
    return abs(h * size_px[1] - w * size_px[0]) <= BORDER * (size_px[0] + size_px[1])
