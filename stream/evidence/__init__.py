"""Frames that are kept by their id, so that an operator can confirm and understand them.

| file | holds |
|---|---|
| `store` | `EvidenceStore`: images, maps and results on disk or object storage; expires what is old or too much |
| `keeper` | `EvidenceKeeper`: a listener that hands rejects and a sample of passes to the store, and holds up nothing |
| `explanation` | `explain`: a frame's worst patch beside the good patch that it was nearest to |

What is in the store is complete: a frame's JSON is written last and removed first. The room must not know Kafka, HTTP
or learning: those ask it for frames.
"""
