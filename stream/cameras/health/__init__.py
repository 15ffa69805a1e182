"""Whether a camera's pictures can be judged at all: black, frozen, covered, blurred, and what else befalls cameras.

| file | holds |
|---|---|
| `camera_health` | `CameraHealth.look`: one picture in, a `Flaw` or None out; the state of a camera's pictures |
| `figures` | `PictureFigures`: what is looked at of a picture, for less than a millisecond |
| `checks` | what a picture's figures say against the references: every cause that holds, with its sentence |
| `confirmation` | `Confirmation`: a cause becomes the state, and goes again, only when it has lasted |
| `motion` | what moves in the picture, pictures that repeat, and which cameras of a line move |
| `references` | `Learned` and `References`: what a camera's first hour has shown |
| `reference_files` | `ReferenceFiles`: references on disk, a file a camera |
| `config` | `HealthConfig`: what is known of a camera, and the bounds in time |

`figures` makes of each picture some thousand cells, a histogram and how sharp its edges are. As long as a camera's
first hour lasts, only what no scene can be is told (black, white or without any structure, another size); all else
needs references. The hour counts only while something moves, so that a line which stands still teaches nothing. The
room is pure but for `reference_files`: it knows neither PyAV nor the event loop, and any picture will do, wherever it
came from.
"""
