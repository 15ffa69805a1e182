"""Plain data that every room of the stream shares: it imports none of them and does no input or output.

| file | holds |
|---|---|
| `frame` | `Frame`, `Position`: what a source yields, and where it came from |
| `result` | `Result`: the one result of a frame, as it is sent; `Box`, `GenerationRef` |
| `outcome` | `Outcome`: a frame with its result, as sinks take it |
| `feedback` | `Feedback`, its reply, and announced generations |
| `identity` | `Identity`, `Role`: who is known to ask, and what they may do |
| `alarm` | the states and transitions of ISA-18.2, as pure functions; the rule of each camera |
| `shelving` | alarms that are shelved for a while, and cameras that are forgotten |
| `camera_state` | `CameraState`: what a camera that the service opens itself is doing |
| `camera_event` | `CameraEvent`: a change of that state, and which states are alarming |
| `clock` | how far the clocks of others may be ahead |
| `limits` | `Limits`, `RecipeConfig`: what the stream may hold, and how it batches |
| `checks` | bounds that configurations check of their numbers |
| `errors` | the tree of errors, reasons and drop causes; what may be tried again is in the type |
| `observer` | `Observer`: what the stream tells those who watch it; `Fan` tells several |

A promise hangs on it: fields of `result`, `feedback` and `alarm` are wire formats and may only be added to.
"""
