"""Results on disk.

| file | holds |
|---|---|
| `jsonl` | `JsonLinesSink`: each result as one line of JSON, to a file or a stream |

The room must not know the pipeline: its sink is plugged in by `stream/ports.py`.
"""
