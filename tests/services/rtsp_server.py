"""An RTSP server by GStreamer, for the system's python3 (it has the bindings): one stream a MOUNT=PIPELINE argument.

    /usr/bin/python3 rtsp_server.py PORT USER:PASSWORD|- MOUNT=PIPELINE [MOUNT=PIPELINE ...]

Each pipeline ends in a payloader named pay0. Every client gets the stream from its beginning.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - the versions are chosen before the import


def serve(port: str, credentials: str, mounts: list[str]) -> None:
    """Serve the mounts on 127.0.0.1 until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    if credentials != "-":
        auth = GstRtspServer.RTSPAuth()
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "viewer")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*credentials.split(":", 1)), token)
        server.set_auth(auth)
    for mount in mounts:
        path, pipeline = mount.split("=", 1)
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {pipeline} )")
        if credentials != "-":
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role("viewer", "media.factory.access", True)
            permissions.add_permission_for_role("viewer", "media.factory.construct", True)
            factory.set_permissions(permissions)
        server.get_mount_points().add_factory(path, factory)
    if server.attach(None) == 0:
        sys.exit(f"port {port} could not be had")
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3:])
