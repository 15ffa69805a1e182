"""What a process says of itself: metrics for Prometheus and logs.

| file | holds |
|---|---|
| `metrics` | `Metrics`: an observer that counts for Prometheus; labels are bounded |
| `worker_metrics` | whether the worker's tasks move, and what its HTTP port turns away |
| `log_observer` | `LogObserver`: an observer that logs what an operator should know |
| `logs` | `configure`: structlog for our lines and those of libraries, without secrets |

Both observers are told through `stream/model/observer.py` and change nothing. The room must not know HTTP: the registry
is served by `ops/web/server.py`.
"""
