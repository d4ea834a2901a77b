"""RTSP server: pictures from standard input to whoever asks at rtsp://127.0.0.1:PORT/scope, encoded by GStreamer.

Run by Debian's own Python, which has GStreamer's bindings; imports nothing of ours:

    /usr/bin/python3 rtsp_server.py PORT CAPS ENCODER < pictures
"""

import os
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402 - only after the versions are named


class Audience:
    """Where pictures go: into the pipeline that clients share, or nowhere while there is none."""

    def __init__(self) -> None:
        self._source = None

    def configured(self, factory: object, media: Gst.Element) -> None:
        """A first client came and a pipeline was made for it."""
        self._source = media.get_element().get_by_name_recurse_up("pictures")
        media.connect("unprepared", self._left)

    def _left(self, media: object) -> None:
        self._source = None

    def show(self, content: bytes) -> None:
        source = self._source
        if source is not None:
            source.emit("push-buffer", Gst.Buffer.new_wrapped(content))


def picture_bytes(caps: str) -> int:
    """Bytes of one I420 picture."""
    structure = Gst.Caps.from_string(caps).get_structure(0)
    return int(structure.get_value("width")) * int(structure.get_value("height")) * 3 // 2


def pass_on(audience: Audience, size: int, loop: GLib.MainLoop) -> None:
    """Pictures from standard input until it ends; those that nobody watches are thrown away, as a camera does."""
    with os.fdopen(0, "rb", buffering=0) as pipe:
        while True:
            content, read = bytearray(size), 0
            while read < size:
                count = pipe.readinto(memoryview(content)[read:])
                if not count:
                    loop.quit()
                    return
                read += count
            audience.show(bytes(content))


def main() -> None:
    port, caps, encoder = sys.argv[1:]
    Gst.init(None)
    audience, loop = Audience(), GLib.MainLoop()
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        # One picture may wait, and a newer one replaces it.
        f"( appsrc name=pictures is-live=true do-timestamp=true format=time max-buffers=1 leaky-type=downstream "
        f"caps={caps} ! {encoder} ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    factory.set_shared(True)
    factory.set_latency(0)
    factory.connect("media-configure", audience.configured)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    server.get_mount_points().add_factory("/scope", factory)
    server.attach(None)
    reader = threading.Thread(target=pass_on, args=(audience, picture_bytes(caps), loop))
    reader.start()
    loop.run()
    reader.join()


if __name__ == "__main__":
    main()
