"""Frames from live cameras, recordings and folders; the only room that imports PyAV.

| file | holds |
|---|---|
| `config` | `CameraConfig`, `FolderConfig` |
| `video` | `VideoSource`: a camera or recording as frames; its reader is a thread of its own |
| `reader` | `CameraReader`: that thread; it opens, has decoded, opens again, and tells states |
| `feed` | `Feed`: coded pictures as they arrive; `RtspFeed` |
| `rtsp/` | RTSP, RTP and the pictures in its packets |
| `container` | `ContainerFeed`: files, HTTP, HLS, RTMP and V4L2, by FFmpeg's demuxers |
| `decoder` | `PictureDecoder`: coded pictures to pictures, and which of them are lost |
| `reconnect` | `Pauses`: when a camera is tried again |
| `probe` | `probe`: what a camera is, found out by looking at it |
| `trouble` | `CameraTroubleError`: a state and a sentence of our own |
| `slot` | `Slot`: where that thread leaves frames for the event loop |
| `picture_watch` | `PictureWatch`: looks at each picture before it goes to the pipeline |
| `health` | whether a camera's pictures can be judged: a room of its own |
| `states`, `board` | one state a camera, of all who know a part of it; what each is doing now, and its changes |
| `folder` | `FolderSource`: the image files of a folder, once |

A live camera cannot be replayed: while the engine is busy its freshest frame waits, and each frame that it replaces is
counted as dropped. A recording or a folder is read to its end, every frame in turn. The room must not know the
pipeline: its sources are plugged in by `stream/ports.py`.
"""
