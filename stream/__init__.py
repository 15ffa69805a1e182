"""Frames in, results out: sources, decoding, batching, sinks and checkpoints, and the way back, learning.

Rooms import downwards only, and rooms on one line know nothing of each other (import-linter checks it):

| room | is |
|---|---|
| `pipeline` | the path of a frame, from its source to its checkpoint |
| `kafka`, `cameras`, `recording` | where frames come from and results go |
| `alarms`, `learning` | results to alarms in Redis; feedback to generations of the memory bank |
| `evidence` | frames kept by their id |
| `ports` | the one file that the author of a source or sink reads |
| `inspection`, `decoding`, `wire` | batches and the engine's thread; images; records |
| `support`, `model` | retries, deadlines, redaction; plain data |

Nothing here knows settings, HTTP, metrics back ends, PyTorch or FAISS.
"""
