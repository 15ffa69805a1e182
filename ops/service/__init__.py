"""A worker: assembled from settings, checked before it starts, run until its sources end or a signal comes.

| file | holds |
|---|---|
| `service` | `run_service`: start, drain and stop, and what each signal means |
| `assembly` | from settings to inspector, sources, sinks and ledger |
| `learning_assembly` | from settings to evidence, feedback, learning, drift, and what the HTTP routes speak to |
| `readiness` | `Readiness`: whether the worker takes frames, and why not, in words |
| `preflight` | `check_settings`: every problem of a settings file that shows without a start, with its place |
| `live_cameras` | `LiveCameras`: the cameras that the service opens itself, which come and go |
| `settings_change` | `change_between`: what differs between settings, and whether it can change while they run |
| `reloading` | `Reloading`: settings that change are read again, checked, and taken or refused |
| `ending` | how the process ends within its time |
| `reachable` | whether the brokers and the Redis answer |

This is the one room that knows settings, the stream's parts and the engine's together. It must not know how a frame
flows (that is `patchline.stream.pipeline`), nor what a verdict is made of.
"""
