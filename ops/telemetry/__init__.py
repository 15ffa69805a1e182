"""What a process says of itself: metrics for Prometheus and logs.

| file | holds |
|---|---|
| `metrics` | `Metrics`: an observer that counts for Prometheus, of five parts: |
| `frame_metrics`, `kafka_metrics`, `alarm_metrics` | frames; partitions; alarms |
| `bank_metrics`, `camera_metrics` | what judges; the state of each camera |
| `camera_labels` | which cameras are told apart: labels are bounded |
| `worker_metrics` | whether the worker's tasks move, and what its HTTP port turns away |
| `log_observer` | `LogObserver`: an observer that logs what an operator should know |
| `camera_log` | `CameraLog`: the same of cameras, at most one line each in ten seconds |
| `logs` | `configure`: structlog for our lines and those of libraries, without secrets |

The observers are told through `stream/model/observer.py` and change nothing. The room must not know HTTP: the registry
is served by `ops/web/server.py`.
"""
