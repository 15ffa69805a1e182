"""The path of a frame: source -> decode -> batch -> inspect -> decide -> sinks -> checkpoint.

| file | holds |
|---|---|
| `pipeline` | `Pipeline`: the whole path on one screen, its start and its end |
| `intake` | `Intake`: reads sources while there is room, at the pace of the engine |
| `live_turns` | `LiveTurns`: whose live picture is taken next, as late as may be |
| `in_flight` | `InFlightBudget`: how many frames and bytes may be in flight |
| `pace` | `Pace`: when to read the next frame, so that it waits for the engine no longer than it must |
| `gate` | `Gate`: lets frames through together, or a suspect one alone |
| `isolated_trial` | `IsolatedTrial`: tries a frame that crashed a worker twice in a process of its own |
| `checkpoint` | `Checkpoint`, `Lane`: outcomes leave in order, and positions with them |

One task carries one frame from its source to the checkpoint. What plugs in (sources, sinks, listeners, side tasks) is
called by the protocols of `stream/ports.py`; a `ReplayableSource` is told of positions, any other source is only read.

The room must not know Kafka, Redis, cameras or settings: those plug in.
"""

from patchline.stream.pipeline.pipeline import Pipeline

__all__ = ["Pipeline"]
