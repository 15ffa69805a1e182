from base64 import b64encode

import pytest

from patchline.stream.cameras.rtsp.description import video_track
from patchline.stream.cameras.trouble import CameraTroubleError
from patchline.stream.model.camera_state import CameraState


def test_the_first_video_that_is_read_here_is_taken() -> None:
    """Sound and unknown codecs are passed over; parameter sets come as Annex B."""
    sps, pps = b"\x67\x42", b"\x68\xce"
    sets = ",".join(b64encode(each).decode() for each in (sps, pps))
    text = "\r\n".join(
        [
            "v=0",
            "m=audio 0 RTP/AVP 0",
            "a=control:sound",
            "m=video 0 RTP/AVP 98 97",
            "a=rtpmap:98 VP8/90000",
            "a=rtpmap:97 H264/90000",
            f"a=fmtp:97 packetization-mode=1; sprop-parameter-sets={sets}",
            "a=control:track1",
        ]
    )
    track = video_track(text, "rtsp://cam/live")
    assert (track.codec, track.payload_type, track.control) == ("h264", 97, "rtsp://cam/live/track1")
    assert track.parameter_sets == b"\0\0\0\1" + sps + b"\0\0\0\1" + pps
    assert video_track("m=video 0 RTP/AVP 26\na=control:rtsp://cam/x", "rtsp://cam/").codec == "mjpeg"
    assert video_track("m=video 0 RTP/AVP 26\na=control:*", "rtsp://cam/live").control == "rtsp://cam/live"


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("m=audio 0 RTP/AVP 0", CameraState.NO_VIDEO),
        ("", CameraState.NO_VIDEO),
        ("m=video 0 RTP/AVP 98\na=rtpmap:98 VP9/90000", CameraState.UNDECODABLE),
        ("m=video", CameraState.NO_VIDEO),
    ],
)
def test_what_cannot_be_read_is_told_apart(text: str, state: CameraState) -> None:
    """No video is another thing than a codec that is not read."""
    with pytest.raises(CameraTroubleError) as caught:
        video_track(text, "rtsp://cam/")
    assert caught.value.state is state
