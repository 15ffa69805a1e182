"""What a worker announces beside results.

| file | holds |
|---|---|
| `camera_events` | `KafkaCameraEvents`: changes of cameras' states, on a topic of their own |

Nothing waits for these: a topic that is not there, or may not be written, costs its events and is told.
"""
