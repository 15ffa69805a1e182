"""How long each stage of an inspection takes, beside the least time that this machine needs for it.

- `floor`: `measure_floor` measures the machine.
- `benchmark`: `benchmark` measures a bank's inspection, stage by stage and end to end.
- `ways`: which search, codes and runtime were taken, in words.
- `frame_stages`: the stages of a frame on a CPU, timed one after the other; and `Laps`, the stopwatch.
- `device_stages`: the stages of a batch on a GPU.

The stages are taken from the inspection's own parts, not from copies of them, so this room imports `inspection` and all
below it. It measures: nothing else of the engine imports it.
"""
