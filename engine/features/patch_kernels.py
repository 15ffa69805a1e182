"""Pixels to the network's input, and feature maps to patch embeddings, as kernels: see `features.patches_cuda`.

Written in Triton (Tillet et al. 2019). Where TRITON_INTERPRET=1 is set before this module is imported, they run on a
CPU, slowly.
"""

# mypy: disable-error-code="no-untyped-def,untyped-decorator"
# What a kernel is given are pointers, numbers and constants of the compilation, for which Triton has no types.

import triton
import triton.language as tl


@triton.jit
def normalise_kernel(
    pixels, mean, std, out, count, C: tl.constexpr, CHANNELS: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr
):
    """Writes (pixel - mean) / std of uint8 (count, C) to (count, CHANNELS), zeros beyond C."""
    pixel = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, WIDE)
    valid, in_image = pixel < count, channel < C
    mask = valid[:, None] & in_image[None, :]
    values = tl.load(pixels + pixel[:, None] * C + channel[None, :], mask, 0).to(tl.float32)
    values -= tl.load(mean + channel, in_image, 0.0)[None, :]
    values /= tl.load(std + channel, in_image, 1.0)[None, :]
    values = tl.where(in_image[None, :], values, 0.0).to(out.dtype.element_ty)
    in_output = channel < CHANNELS
    tl.store(out + pixel[:, None] * CHANNELS + channel[None, :], values, valid[:, None] & in_output[None, :])


@triton.jit
def pool_kernel(map_, out, h, w, stride, offset, C: tl.constexpr, CHANNELS: tl.constexpr, CELLS: tl.constexpr):
    """Writes means over 3 x 3 cells of a map (B, h, w, C), zeros beyond it, to `out` + offset + cell * stride."""
    row, frame = tl.program_id(1), tl.program_id(2)
    blocks = tl.cdiv(C, CHANNELS)
    x = tl.program_id(0) // blocks * CELLS + tl.arange(0, CELLS)
    channel = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    in_map = channel < C
    sums = tl.zeros((CELLS, CHANNELS), dtype=tl.float32)
    for dy in tl.static_range(-1, 2):
        for dx in tl.static_range(-1, 2):
            y = tl.full((CELLS,), dy, dtype=tl.int32) + row
            inside = (y >= 0) & (y < h) & (x + dx >= 0) & (x + dx < w)
            cell = (frame * h + y).to(tl.int64) * w + x + dx
            mask = inside[:, None] & in_map[None, :]
            sums += tl.load(map_ + cell[:, None] * C + channel[None, :], mask, 0.0).to(tl.float32)
    cell = (frame * h + row).to(tl.int64) * w + x
    values = (sums / 9).to(out.dtype.element_ty)
    tl.store(out + offset + cell[:, None] * stride + channel[None, :], values, (x < w)[:, None] & in_map[None, :])


@triton.jit
def resize_kernel(map_, out, h, w, H, W, stride, offset, C: tl.constexpr, CHANNELS: tl.constexpr, CELLS: tl.constexpr):
    """Resizes a map (B, h, w, C) to (H, W), bilinearly, to `out` + offset + cell * stride; corners are not aligned."""
    row, frame = tl.program_id(1), tl.program_id(2)
    blocks = tl.cdiv(C, CHANNELS)
    x = tl.program_id(0) // blocks * CELLS + tl.arange(0, CELLS)
    channel = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS)
    valid = (x < W)[:, None] & (channel < C)[None, :]
    source_y = tl.maximum((row + 0.5) * (h / H) - 0.5, 0.0)
    source_x = tl.maximum((x + 0.5) * (w / W) - 0.5, 0.0)
    top, left = tl.minimum(source_y.to(tl.int32), h - 1), tl.minimum(source_x.to(tl.int32), w - 1)
    bottom, right = tl.minimum(top + 1, h - 1), tl.minimum(left + 1, w - 1)
    dy, dx = source_y - top, (source_x - left)[:, None]
    above, below = (frame * h + top).to(tl.int64) * w, (frame * h + bottom).to(tl.int64) * w
    first = map_ + channel[None, :]
    a = tl.load(first + (above + left)[:, None] * C, valid, 0.0).to(tl.float32)
    b = tl.load(first + (above + right)[:, None] * C, valid, 0.0).to(tl.float32)
    c = tl.load(first + (below + left)[:, None] * C, valid, 0.0).to(tl.float32)
    d = tl.load(first + (below + right)[:, None] * C, valid, 0.0).to(tl.float32)
    values = (1 - dy) * ((1 - dx) * a + dx * b) + dy * ((1 - dx) * c + dx * d)
    cell = (frame * H + row).to(tl.int64) * W + x
    tl.store(out + offset + cell[:, None] * stride + channel[None, :], values.to(out.dtype.element_ty), valid)
