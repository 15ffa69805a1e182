"""RTSP with what FFmpeg keeps to itself: where a picture ends, what was lost, and how to let go at once.

| file | holds |
|---|---|
| `address` | `RtspAddress`: host, port and login of a URL |
| `login` | `Login`: Digest and Basic |
| `connection` | `RtspConnection`: answers and packets on one TCP or TLS connection |
| `description` | `VideoTrack`: what an SDP says of the video |
| `session` | `RtspSession`: DESCRIBE, SETUP, PLAY; RTP packets in their order |
| `datagrams` | `Datagrams`: RTP over UDP, put in order |
| `rtp` | the header of a packet; `Continuity`: what was lost on the way |
| `access_units` | pictures of H.264 and H.265 from their packets |
| `jpeg_pictures` | pictures of JPEG from their packets |

FFmpeg's demuxer hands packets on without the marker that ends a picture, so that each picture would come out with the
next one; it does not tell of packets that are missing in a TCP stream; and a read that hangs ends only at its timeout.
Decoding is PyAV's (`decoder`, one room above). The protocol is RFC 2326 with RFC 7826's Digest, RTP is RFC 3550, its
payloads are RFC 6184 (H.264), 7798 (H.265) and 2435 (JPEG).
"""
