"""One module a command of the command line: it reads options, calls one function of a room below, and prints.

| file | commands |
|---|---|
| `fit`, `inspect`, `evaluate`, `bench` | from images to a bank, its verdicts, its figures and its speed |
| `bank`, `bank_changes` | `patchline bank`: what looks into the chain of generations, and what adds to it |
| `run`, `check`, `settings` | a service from a settings file; what is wrong in one; what may stand in one |
| `confirm`, `alarms` | what an operator says of a frame, and of an alarm |
| `cameras` | the room within: `patchline cameras` |
| `demo` | the simulated line |
| `_options` | options that several commands share, examples under them, JSON lines |
| `_backbone`, `_bank` | options to a backbone, and to an inspector with one bank |
| `_generations`, `_progress` | generations as rows of a table, and progress bars |

A module here is imported whenever `patchline` starts, `--help` included. torch, aiokafka and the like are therefore
imported inside the functions that need them. Nothing outside `cli` imports this room.
"""
