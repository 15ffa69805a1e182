"""Where a patch of the grid lies on an image."""

from patchline.stream.model.feedback import Box


def cell_box(grid: tuple[int, int], place: tuple[int, int], size_px: tuple[int, ...], around: int = 0) -> Box:
    """A cell of the patch grid, (row, column), with `around` cells on each side, on an image of `size_px` (H, W)."""
    (rows, columns), (row, column), (height, width) = grid, place, size_px
    top, left = max(0, row - around) * height // rows, max(0, column - around) * width // columns
    bottom = -(-min(rows, row + 1 + around) * height // rows)
    right = -(-min(columns, column + 1 + around) * width // columns)
    return Box(top_px=top, left_px=left, height_px=bottom - top, width_px=right - left)
