"""What a person types after `scopeline live`, and what is opened for it."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import av
import pytest

from scopeline.errors import ConfigError, SourceError
from scopeline.sources.address import (
    FeedAddress,
    FeedOptions,
    LibraryFeed,
    ProgramFeed,
    RawFeed,
    RecordingFeed,
    SyntheticFeed,
    parse_address,
    parse_size,
)
from scopeline.sources.system_ffmpeg import NUT_OPTIONS, devices, ffmpeg_command, find_ffmpeg, protocols

CARD = FeedOptions(size_px=(1920, 1080), rate_hz=59.94, input_format="yuyv422")
RAW = FeedOptions(size_px=(1920, 1080), pixel_format="nv12", rate_hz=30)


def library(text: str, options: FeedOptions | None = None) -> LibraryFeed:
    feed = parse_address(text, options)
    assert isinstance(feed, LibraryFeed)
    return feed


def program(text: str, options: FeedOptions | None = None) -> ProgramFeed:
    feed = parse_address(text, options)
    assert isinstance(feed, ProgramFeed)
    return feed


@pytest.mark.parametrize("text", ["/dev/video0", "v4l2:/dev/video0"])
def test_a_card_is_opened_with_the_size_rate_and_format_that_were_said(text: str) -> None:
    feed = library(text, CARD)
    assert (feed.place, feed.format) == ("/dev/video0", "v4l2")
    assert feed.options["video_size"] == "1920x1080"
    assert feed.options["framerate"] == "59.94"
    assert feed.options["input_format"] == "yuyv422"


def test_a_card_is_left_its_own_choice_of_what_was_not_said() -> None:
    assert not {"video_size", "framerate", "input_format"} & set(library("/dev/video2").options)


def test_a_card_can_be_named_by_where_it_is_plugged_in() -> None:
    place = "/dev/v4l/by-id/usb-Magewell_USB_Capture_HDMI-video-index0"
    assert library(place).place == place


def test_a_windows_card_may_queue_four_of_its_own_pictures() -> None:
    feed = library("dshow:USB Video", CARD)
    assert (feed.place, feed.format, feed.options["pixel_format"]) == ("video=USB Video", "dshow", "yuyv422")
    assert int(feed.options["rtbufsize"]) == 4 * 1920 * 1080 * 2


def test_a_compressing_windows_card_needs_the_program() -> None:
    feed = program("dshow:USB Video", FeedOptions(size_px=(1280, 720), input_format="mjpeg"))
    assert feed.device == "dshow"
    assert feed.input_arguments[-2:] == ("-i", "video=USB Video")
    assert ("-vcodec", "mjpeg") in set(zip(feed.input_arguments, feed.input_arguments[1:], strict=False))


def test_a_mac_camera_is_opened_without_its_microphone() -> None:
    assert library("avfoundation:FaceTime HD").place == "FaceTime HD:none"


def test_rtsp_goes_over_tcp_unless_udp_is_said() -> None:
    assert library("rtsp://scope/1").options["rtsp_transport"] == "tcp"
    assert library("rtsp://scope/1", FeedOptions(rtsp_transport="udp")).options["rtsp_transport"] == "udp"


def test_a_password_is_used_and_not_shown() -> None:
    feed = library("rtsp://nurse:secret@scope:554/live")
    assert "secret" in feed.place
    assert feed.name == "rtsp://scope/live"


def test_a_password_is_not_shown_in_an_error_either() -> None:
    with pytest.raises(ConfigError) as told:
        parse_address("rtsp://nurse:secret@scope/live", FeedOptions(size_px=(640, 480)))
    assert "secret" not in str(told.value)


def test_an_overrun_of_the_network_is_survived() -> None:
    assert library("udp://@:5000").options["overrun_nonfatal"] == "1"


def test_rtmp_can_wait_for_the_sender_to_call() -> None:
    feed = library("rtmp://0.0.0.0:1935/live/scope?listen=1")
    assert (feed.place, feed.options["listen"]) == ("rtmp://0.0.0.0:1935/live/scope", "1")
    assert "listen" not in library("rtmp://server/live/scope").options


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("srt://10.0.0.5:9000", "srt"),
        ("rist://10.0.0.5:9000", "rist"),
    ],
)
def test_what_the_library_lacks_goes_to_the_program(text: str, wanted: str) -> None:
    feed = program(text)
    assert feed.protocol == wanted
    assert feed.input_arguments[-2:] == ("-i", text)


def test_a_latency_in_the_address_wins() -> None:
    assert "-latency" in program("srt://a:1").input_arguments
    assert "-latency" not in program("srt://a:1?mode=caller&latency=200000").input_arguments


@pytest.mark.parametrize(
    ("text", "device"), [("decklink:DeckLink Mini Recorder", "decklink"), ("ndi:SCOPE (1)", "libndi_newtek")]
)
def test_cards_that_need_a_vendors_library_go_to_the_program(text: str, device: str) -> None:
    feed = program(text)
    assert (feed.device, feed.name) == (device, text.partition(":")[2])


def test_the_program_can_be_told_everything() -> None:
    feed = program("ffmpeg:-f lavfi -i 'testsrc2=size=640x480:rate=30'")
    assert feed.input_arguments == ("-f", "lavfi", "-i", "testsrc2=size=640x480:rate=30")


@pytest.mark.parametrize("rest", ["", "testsrc2", "-i a -c copy out.ts", "-i a -i b", "-i 'open quote"])
def test_only_one_input_may_be_told_to_the_program(rest: str) -> None:
    with pytest.raises(ConfigError, match="wanted"):
        parse_address(f"ffmpeg:{rest}")


def test_a_raw_pipe_says_its_size_and_format() -> None:
    assert parse_address("raw:/run/scope.pipe", RAW) == RawFeed(
        "scope.pipe", Path("/run/scope.pipe"), 1920, 1080, "nv12", 30
    )


def test_a_dash_is_the_standard_input() -> None:
    feed = parse_address("raw:-", RAW)
    assert isinstance(feed, RawFeed)
    assert feed.path is None


@pytest.mark.parametrize(
    "options", [FeedOptions(), FeedOptions(size_px=(8, 8)), FeedOptions(pixel_format="nv12")]
)
def test_a_raw_pipe_without_size_or_format_is_refused(options: FeedOptions) -> None:
    with pytest.raises(ConfigError, match="--size WIDTHxHEIGHT and --pixel-format"):
        parse_address("raw:-", options)


@pytest.mark.parametrize(
    ("pixel_format", "size_px"), [("yuyv422", (641, 480)), ("nv12", (640, 481)), ("yuv420p", (640, 481))]
)
def test_shared_colour_wants_an_even_size(pixel_format: str, size_px: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="even"):
        parse_address("raw:-", FeedOptions(size_px=size_px, pixel_format=pixel_format))


def test_bgr_may_have_any_size() -> None:
    assert isinstance(parse_address("raw:-", FeedOptions(size_px=(641, 481), pixel_format="bgr24")), RawFeed)


@pytest.mark.parametrize("text", ["video.mp4", "C:\\films\\a.mp4", "./a b.mkv", "stills/%04d.png"])
def test_anything_without_a_kind_is_a_recording(text: str) -> None:
    assert isinstance(parse_address(text), RecordingFeed)


def test_a_file_with_a_colon_in_its_name_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rtmp:odd.mp4"
    path.touch()
    assert isinstance(parse_address(str(path)), RecordingFeed)


def test_the_simulation_needs_no_colon() -> None:
    assert isinstance(parse_address("synthetic"), SyntheticFeed)


def test_a_session_description_may_open_nothing_but_the_network() -> None:
    assert library("scope.sdp").options["protocol_whitelist"] == "file,udp,rtp"


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("gopher://a", FeedOptions(), "unknown kind 'gopher'"),
        ("udp://10.0.0.1", FeedOptions(), "wanted a port"),
        ("rtsp:///path", FeedOptions(), "no host"),
        ("dshow:", FeedOptions(), "scopeline devices"),
        ("v4l2:video0", FeedOptions(), "v4l2:/dev/video0"),
        ("/dev/ttyUSB0", FeedOptions(), "raw:/dev/ttyUSB0"),
        ("raw:", FeedOptions(), "raw:- for the standard input"),
        ("udp://@:5000", FeedOptions(size_px=(640, 480)), "--size is for capture devices and raw pipes"),
        ("video.mp4", FeedOptions(rate_hz=30), "--rate is for"),
        ("raw:-", FeedOptions(input_format="nv12"), "--input-format is for capture devices"),
        ("/dev/video0", FeedOptions(pixel_format="nv12"), "--pixel-format is for raw pipes"),
        ("udp://@:5000", FeedOptions(rtsp_transport="udp"), "--rtsp-transport is for rtsp"),
        ("/dev/video0", FeedOptions(input_format="h263"), "wanted one of mjpeg, yuyv422"),
        ("/dev/video0", FeedOptions(rate_hz=0), "between 0 and 1000"),
        ("avfoundation:0", FeedOptions(input_format="mjpeg"), "uncompressed pictures only"),
        ("decklink:1", FeedOptions(size_px=(1920, 1080)), "leave it out"),
    ],
)
def test_what_does_not_fit_is_told_with_what_was_wanted(text: str, options: FeedOptions, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_address(text, options)
    assert told in str(error.value)


def test_a_size_is_width_times_height() -> None:
    assert parse_size("1920x1080") == (1920, 1080)
    for wrong in ("1920", "0x10", "axb", "1920x1080x3", "-1x5", ""):
        with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
            parse_size(wrong)


# Against FFmpeg itself


LIBRARY_FEEDS = [
    parse_address("/dev/video0", CARD),
    parse_address("rtsp://a/b"),
    parse_address("rtsp://a/b", FeedOptions(rtsp_transport="udp")),
    parse_address("udp://@:5000"),
    parse_address("rtp://@:5000"),
    parse_address("scope.sdp"),
    parse_address("tcp://a:5000"),
    parse_address("rtmp://a/live"),
    parse_address("rtmp://a/live?listen=1"),
    parse_address("http://a/live"),
]


@pytest.mark.parametrize("feed", LIBRARY_FEEDS, ids=lambda feed: feed.place)
def test_every_option_is_one_that_the_ffmpeg_inside_pyav_has(feed: FeedAddress) -> None:
    """A misspelt option is ignored in silence, and so is one that a later FFmpeg has dropped."""
    assert isinstance(feed, LibraryFeed)
    known = _Options()
    unknown = [
        name for name in feed.options if not known.has(feed.format, feed.place.partition(":")[0], name)
    ]
    assert not unknown


def test_the_format_names_are_ones_that_the_ffmpeg_inside_pyav_has() -> None:
    for feed in LIBRARY_FEEDS:
        assert isinstance(feed, LibraryFeed)
        assert feed.format is None or feed.format in av.formats_available | {"v4l2"}


class _InputFormat(ctypes.Structure):
    """The public head of FFmpeg's AVInputFormat."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("long_name", ctypes.c_char_p),
        ("flags", ctypes.c_int),
        ("extensions", ctypes.c_char_p),
        ("codec_tag", ctypes.c_void_p),
        ("priv_class", ctypes.c_void_p),
    )


class _Options:
    """FFmpeg's own tables of options, read from the libraries that came with PyAV."""

    def __init__(self) -> None:
        folder = Path(av.__file__).parents[1] / "av.libs"
        found = {name: sorted(folder.glob(f"lib{name}-*.so*")) for name in ("avformat", "avutil")}
        if not all(found.values()):
            pytest.skip("PyAV is no Linux wheel here: its FFmpeg cannot be asked")
        self._format, self._util = (ctypes.CDLL(str(found[name][0])) for name in ("avformat", "avutil"))
        self._format.av_find_input_format.restype = ctypes.POINTER(_InputFormat)
        self._format.avio_protocol_get_class.restype = ctypes.c_void_p
        self._format.avformat_get_class.restype = ctypes.c_void_p
        self._util.av_opt_find.restype = ctypes.c_void_p
        self._util.av_opt_find.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_int,
        ]

    def has(self, demuxer: str | None, protocol: str, option: str) -> bool:
        classes = [self._format.avformat_get_class()]
        classes.append(self._format.avio_protocol_get_class(protocol.encode()))
        if demuxer is not None:
            classes.append(self._format.av_find_input_format(demuxer.encode()).contents.priv_class)
        return any(self._finds(each, option) for each in classes if each)

    def _finds(self, where: int, option: str) -> bool:
        fake_object = 2  # AV_OPT_SEARCH_FAKE_OBJ: a class is asked, not an object of it
        pointer = ctypes.c_void_p(where)
        return bool(self._util.av_opt_find(ctypes.byref(pointer), option.encode(), None, 0, fake_object))


def test_the_check_of_options_knows_a_wrong_one() -> None:
    assert _Options().has("rtsp", "rtsp", "rtsp_transport")
    assert not _Options().has("rtsp", "rtsp", "stimeout")  # FFmpeg 4 had it


needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg program here")


@needs_ffmpeg
def test_the_child_writes_pictures_that_the_library_reads(tmp_path: Path) -> None:
    feed = program("ffmpeg:-f lavfi -i testsrc2=size=320x240:rate=30:duration=1")
    done = subprocess.run(ffmpeg_command(feed), capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    (tmp_path / "a.nut").write_bytes(done.stdout)
    with av.open(str(tmp_path / "a.nut"), format="nut", options=dict(NUT_OPTIONS)) as container:
        pictures = list(container.decode(video=0))
    assert len(pictures) == 30
    assert {(each.width, each.height, each.format.name) for each in pictures} == {(320, 240, "yuv420p")}
    assert [round(each.time * 30) for each in pictures if each.time is not None] == list(range(30))


@needs_ffmpeg
@pytest.mark.parametrize("pixel_format", ["uyvy422", "nv12", "bgr24", "yuv422p"])
def test_pictures_go_through_the_pipe_as_they_are(tmp_path: Path, pixel_format: str) -> None:
    feed = program(f"ffmpeg:-f lavfi -i testsrc2=size=64x48:duration=0.2,format={pixel_format}")
    done = subprocess.run(ffmpeg_command(feed), capture_output=True, check=True, timeout=60)
    (tmp_path / "a.nut").write_bytes(done.stdout)
    with av.open(str(tmp_path / "a.nut"), format="nut") as container:
        assert next(container.decode(video=0)).format.name == pixel_format


def test_a_missing_ffmpeg_is_told_with_how_to_get_it() -> None:
    with pytest.raises(SourceError, match="apt-get install ffmpeg"):
        find_ffmpeg(program("srt://a:1"), which=lambda name: None)


PROTOCOLS = "Supported file protocols:\nInput:\n  file\n  udp\nOutput:\n  file\n  srt\n"
DEVICES = "Devices:\n D. = Demuxing supported\n --\n DE alsa            ALSA audio\n D  lavfi  virtual\n  E sdl  SDL\n"


def test_an_ffmpeg_that_can_only_send_srt_cannot_receive_it() -> None:
    assert protocols("ffmpeg", lambda words: PROTOCOLS) == {"file", "udp"}
    with pytest.raises(SourceError, match="wanted an ffmpeg with srt"):
        find_ffmpeg(program("srt://a:1"), which=lambda name: "/opt/ffmpeg", run=lambda words: PROTOCOLS)


def test_an_ffmpeg_without_the_cards_library_is_told_with_a_way_round() -> None:
    assert devices("ffmpeg", lambda words: DEVICES) == {"alsa", "lavfi"}
    with pytest.raises(SourceError, match="raw:-"):
        find_ffmpeg(program("decklink:1"), which=lambda name: "/opt/ffmpeg", run=lambda words: DEVICES)


def test_an_ffmpeg_that_has_it_is_named() -> None:
    feed = program("ffmpeg:-i a.mp4")
    assert find_ffmpeg(feed, which=lambda name: "/opt/ffmpeg", run=lambda words: "") == "/opt/ffmpeg"


@needs_ffmpeg
def test_the_ffmpeg_of_this_machine_says_what_it_has() -> None:
    path = shutil.which("ffmpeg")
    assert path is not None
    assert {"udp", "tcp", "file"} <= protocols(path)
    assert "lavfi" in devices(path)
