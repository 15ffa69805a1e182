"""From the bytes of a frame to the image that its recipe sees.

| file | holds |
|---|---|
| `image_file` | `read_image`, `read_view`, `bits_of`: JPEG, PNG, BMP, TIFF and PNM to pixels, if whole |
| `structure` | `structure_of`: what the headers say of the work that the pixels will make |
| `allowance` | `Clock`: how long decoding may take, and how that is kept |
| `separate_process` | `SeparateProcess`: decodes what looks unusual in a process that can be killed |
| `decoder` | `Decoder`: checks, decodes and resizes frames on threads of its own |
| `reference` | `FrameReferences`: fetches frames that come as a URI and a SHA-256 |

What a file is, its first bytes decide. Whatever is wrong with a frame is an `UnreadableError` with a `Reason`; only
storage that is away is an error that is tried again. The room must not know where frames come from, nor batches.
"""
