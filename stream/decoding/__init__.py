"""From the bytes of a frame to the image that its recipe sees.

| file | holds |
|---|---|
| `image_file` | `read_image`, `read_view`, `bits_of`: JPEG, PNG, BMP, TIFF and PNM to pixels, if whole |
| `decoder` | `Decoder`: checks, decodes and resizes frames on threads of its own |
| `reference` | `FrameReferences`: fetches frames that come as a URI and a SHA-256 |

What a file is, its first bytes decide. Whatever is wrong with a frame is an `UnreadableError` with a `Reason`; only
storage that is away is an error that is tried again. The room must not know where frames come from, nor batches.
"""
