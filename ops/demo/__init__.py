"""A simulated production line that shows the service at work, with no server to install.

| file | holds |
|---|---|
| `main` | `run_demo`: page up, banks fitted, the service's own pipeline run, the summary given |
| `feed` | what is inspected: the simulated line, a folder, or a camera; and what is fitted first |
| `line`, `web`, `material` | frames at the line's pace; an endless web; the brick, grass or gravel in it |
| `defects`, `lighting`, `picture` | planted flaws; a lamp that ages; pictures for the page |
| `teaching` | the simulated operator, and learning without a broker |
| `board`, `tally`, `summary` | what is shown now; outcomes against the truth; figures at the end |
| `page`, `terminal` | the board in a browser, and on a terminal |
| `simulated_line` | the line as a part of `deploy/compose.yaml`: its frames sent to Kafka |

The pipeline, the observers and the HTTP server are those of a service. Only the source of frames and the operator are
made up, so the room must not know Kafka (but for `simulated_line`), Redis or settings.
"""
