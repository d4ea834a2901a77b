"""Capture devices, from what the tools print and on planted machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from scopeline.commands.devices import show
from scopeline.devices import (
    Device,
    Listing,
    Machine,
    Mode,
    choose_format,
    explain_device,
    explain_no_device,
    holders,
    list_devices,
    parse_avfoundation_devices,
    parse_dshow_devices,
    parse_dshow_modes,
    parse_v4l2_modes,
)
from scopeline.errors import ConfigError
from scopeline.probe import ask_program
from scopeline.sources.address import FeedOptions
from scopeline.sources.device_options import device_options

RECORDED = Path(__file__).parent / "data" / "devices"
FULL_HD = (1920, 1080)


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def modes(name: str) -> tuple[Mode, ...]:
    return parse_v4l2_modes(recorded(name))


# What the tools print


def test_a_usb_2_grabber_has_its_formats_sizes_and_rates() -> None:
    found = modes("ms2109")
    assert len(found) == 22
    assert found[0] == Mode("mjpeg", FULL_HD, FULL_HD, (30.0, 25.0, 20.0, 10.0, 5.0))
    assert next(mode.rates_hz for mode in found if mode.input_format == "yuyv422") == (5.0,)


def test_broadcast_rates_keep_their_fraction() -> None:
    assert modes("magewell_usb")[0].rates_hz == (60.0, 59.94, 50.0, 30.0, 29.97, 25.0)


def test_a_card_that_scales_offers_a_range_of_sizes_and_rates() -> None:
    mode = modes("pcie_range")[0]
    assert (mode.least_px, mode.most_px, mode.rates_hz, mode.any_rate) == (
        (320, 240),
        (3840, 2160),
        (60, 5),
        True,
    )
    assert mode.has_size((1280, 1024))
    assert not mode.has_size((4096, 2160))
    assert mode.rate_at_most(50) == 50


def test_a_format_that_ffmpeg_has_no_name_for_keeps_its_own() -> None:
    assert [mode.input_format for mode in modes("signal_only")] == ["uyvy422", "'v210'"]


def test_a_card_that_does_not_say_its_rate_has_none() -> None:
    assert modes("signal_only")[0].rates_hz == ()


def test_a_metadata_node_has_no_modes() -> None:
    assert modes("metadata_node") == ()


@pytest.mark.parametrize(
    "text", ["", "Cannot open device /dev/video7, exiting.\n", "Size: Discrete x\n[0]: ''"]
)
def test_text_of_another_kind_holds_no_modes(text: str) -> None:
    assert parse_v4l2_modes(text) == ()


def test_windows_cards_are_named_without_microphones_and_virtual_cameras() -> None:
    assert parse_dshow_devices(recorded("dshow_devices")) == ("USB Video",)


def test_windows_modes_are_named_once() -> None:
    found = parse_dshow_modes(recorded("dshow_modes"))
    assert [(mode.input_format, mode.most_px, mode.rates_hz) for mode in found] == [
        ("mjpeg", FULL_HD, (30, 5)),
        ("mjpeg", (1280, 720), (60.0002, 10)),
        ("yuyv422", FULL_HD, (5,)),
        ("yuyv422", (640, 480), (30, 5)),
    ]


def test_mac_cameras_are_named_without_screens_and_microphones() -> None:
    assert parse_avfoundation_devices(recorded("avfoundation_devices")) == (
        "FaceTime HD Camera",
        "USB Capture HDMI",
    )


# What is asked of a card


def test_an_uncompressed_card_is_taken_uncompressed() -> None:
    choice = choose_format(modes("magewell_usb"))
    assert (choice.input_format, choice.size_px, choice.rate_hz) == ("nv12", FULL_HD, 60)
    assert "nothing to decode" in choice.why


def test_a_usb_2_grabber_is_taken_compressed_because_raw_is_too_slow() -> None:
    choice = choose_format(modes("ms2109"))
    assert (choice.input_format, choice.size_px, choice.rate_hz) == ("mjpeg", FULL_HD, 30)
    assert "uncompressed (yuyv422) it reaches 5 Hz only" in choice.why


def test_the_same_grabber_is_taken_raw_where_raw_is_fast_enough() -> None:
    choice = choose_format(modes("ms2109"), size_px=(720, 480))
    assert (choice.input_format, choice.rate_hz) == ("yuyv422", 30)


def test_a_wanted_rate_decides_for_compressed_pictures() -> None:
    choice = choose_format(modes("ms2109"), size_px=(720, 480), rate_hz=60)
    assert (choice.input_format, choice.rate_hz) == ("mjpeg", 60)


def test_a_slow_rate_that_was_asked_for_is_enough() -> None:
    assert choose_format(modes("ms2109"), size_px=FULL_HD, rate_hz=5).input_format == "yuyv422"


def test_no_more_than_1080p_is_asked_for_unprompted() -> None:
    choice = choose_format(modes("pcie_range"))
    assert (choice.input_format, choice.size_px, choice.rate_hz) == ("uyvy422", FULL_HD, 60)


def test_60_hz_also_means_its_broadcast_cousin() -> None:
    only = (Mode("nv12", FULL_HD, FULL_HD, (59.94, 50.0)),)
    assert choose_format(only, rate_hz=60).rate_hz == 59.94


def test_a_format_that_was_asked_for_is_taken() -> None:
    assert choose_format(modes("magewell_usb"), input_format="yuyv422").input_format == "yuyv422"


def test_a_webcam_shows_its_largest_size_that_moves() -> None:
    choice = choose_format(modes("webcam"))
    assert (choice.input_format, choice.size_px, choice.rate_hz) == ("mjpeg", (1280, 720), 30)


def test_a_rate_that_is_not_said_is_not_asked_for() -> None:
    choice = choose_format(modes("signal_only"))
    assert (choice.input_format, choice.rate_hz) == ("uyvy422", None)


def test_a_card_with_nothing_but_4k_is_taken_as_it_is() -> None:
    only = (Mode("nv12", (3840, 2160), (3840, 2160), (30.0,)),)
    assert choose_format(only).size_px == (3840, 2160)


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"size_px": (1234, 567)}, "wanted 1234x567"),
        ({"size_px": (1920, 1080), "rate_hz": 60.0}, "wanted 1920x1080 at 60 Hz"),
        ({"input_format": "nv12"}, "wanted nv12"),
        (
            {"input_format": "yuyv422", "size_px": (1920, 1080), "rate_hz": 30.0},
            "yuyv422 1920x1080 up to 5 Hz",
        ),
    ],
)
def test_what_a_card_does_not_offer_is_told_with_what_it_does(wanted: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        choose_format(modes("ms2109"), **wanted)  # type: ignore[arg-type]
    assert "mjpeg 1920x1080 up to 30 Hz, 1600x1200 up to 30 Hz" in str(error.value)


def test_a_card_with_no_known_format_is_told() -> None:
    with pytest.raises(ConfigError, match="this one offers 'v210'"):
        choose_format((Mode("'v210'", FULL_HD, FULL_HD, (60.0,)),))


# Planted machines


def plant(root: Path, *nodes: str) -> None:
    (root / "dev").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(nodes):
        (root / "dev" / f"video{number}").touch()
        folder = root / "sys/class/video4linux" / f"video{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")


def tool(**answers: str) -> Callable[[Sequence[str]], str]:
    """A v4l2-ctl that prints the recorded answer of the device that it is asked for."""

    def run(words: Sequence[str]) -> str:
        assert words[1] == "--device"
        assert words[-1] == "--list-formats-ext"
        return answers[Path(words[2]).name]

    return run


def test_cards_are_listed_without_their_metadata_nodes(tmp_path: Path) -> None:
    plant(tmp_path, "USB Video: USB Video", "USB Video: USB Video", "USB Capture HDMI")
    answers = tool(
        video0=recorded("ms2109"), video1=recorded("metadata_node"), video2=recorded("magewell_usb")
    )
    listing = list_devices("linux", Machine(answers, lambda name: f"/usr/bin/{name}", tmp_path))
    assert [(device.address, device.name) for device in listing.devices] == [
        ("/dev/video0", "USB Video: USB Video"),
        ("/dev/video2", "USB Capture HDMI"),
    ]
    assert [len(device.modes) for device in listing.devices] == [22, 15]


def test_without_the_tool_cards_are_named_and_the_tool_is_too(tmp_path: Path) -> None:
    plant(tmp_path, "Pro Capture HDMI")
    device = list_devices("linux", Machine(tool(), lambda name: None, tmp_path)).devices[0]
    assert (device.name, device.modes) == ("Pro Capture HDMI", ())
    assert "apt-get install v4l-utils" in device.trouble


def test_a_multi_planar_input_is_listed_with_the_way_round(tmp_path: Path) -> None:
    plant(tmp_path, "rkisp_mainpath")
    answers = tool(video0=recorded("multiplanar"))
    device = list_devices("linux", Machine(answers, lambda name: name, tmp_path)).devices[0]
    assert "gst-launch-1.0" in device.trouble
    assert "/dev/video0" in device.trouble


def test_a_card_that_the_tool_cannot_ask_is_listed_with_the_tools_words(tmp_path: Path) -> None:
    plant(tmp_path, "USB Video")
    answers = tool(video0="Cannot open device /dev/video0, exiting.\n")
    device = list_devices("linux", Machine(answers, lambda name: name, tmp_path)).devices[0]
    assert "Cannot open device" in device.trouble


def test_the_devices_of_windows_come_with_their_modes() -> None:
    def run(words: Sequence[str]) -> str:
        return recorded("dshow_devices" if "list_devices" in words[-1] else "dshow_modes")

    devices = list_devices("win32", Machine(run)).devices
    assert [(device.address, len(device.modes)) for device in devices] == [("dshow:USB Video", 4)]


def test_the_devices_of_a_mac_come_with_their_names() -> None:
    devices = list_devices("darwin", Machine(lambda words: recorded("avfoundation_devices"))).devices
    assert [device.address for device in devices] == [
        "avfoundation:FaceTime HD Camera",
        "avfoundation:USB Capture HDMI",
    ]


@pytest.mark.parametrize(
    ("system", "told"),
    [("win32", "Device Manager"), ("darwin", "Privacy & Security"), ("aix", "this is aix")],
)
def test_an_empty_list_is_explained(system: str, told: str) -> None:
    listing = list_devices(system, Machine(lambda words: ""))
    assert listing.devices == ()
    assert told in listing.explanation


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        ({}, "no video devices at all"),
        ({"sys/class/video4linux/x": ""}, "dmesg"),
        ({"sys/bus/pci/devices/0000:03:00.0/vendor": "0xbdbd\n"}, "Desktop Video"),
        ({"sys/bus/pci/devices/0000:03:00.0/vendor": "0x1cd7\n"}, "ProCapture"),
        ({"sys/bus/usb/devices/1-2:1.0/bInterfaceClass": "0e\n"}, "modprobe uvcvideo"),
        ({".dockerenv": "", "sys/class/video4linux/video3/name": "x"}, "--device /dev/video3"),
    ],
)
def test_a_machine_without_devices_is_told_why(tmp_path: Path, planted: dict[str, str], told: str) -> None:
    for path, text in planted.items():
        write(tmp_path / path, text)
    assert told in explain_no_device(tmp_path)


def test_a_card_that_was_pulled_out_is_told(tmp_path: Path) -> None:
    assert "/dev/v4l/by-id" in explain_device(tmp_path / "dev/video0", tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may open everything")
def test_a_card_without_permission_is_told(tmp_path: Path) -> None:
    node = tmp_path / "video0"
    node.touch(mode=0o000)
    assert "usermod -aG video" in explain_device(node, tmp_path)


def test_who_holds_a_card_is_named(tmp_path: Path) -> None:
    plant(tmp_path, "USB Video")
    node = (tmp_path / "dev/video0").resolve()
    write(tmp_path / "proc/4242/comm", "obs\n")
    (tmp_path / "proc/4242/fd").mkdir()
    (tmp_path / "proc/4242/fd/17").symlink_to(node)
    write(tmp_path / "proc/77/comm", "bash\n")
    (tmp_path / "proc/77/fd").mkdir()
    (tmp_path / "proc/77/fd/0").symlink_to("/dev/null")
    assert holders(node, tmp_path) == ["obs (process 4242)"]
    assert "in use by obs (process 4242)" in explain_device(node, tmp_path)


def test_a_free_card_is_nobodys(tmp_path: Path) -> None:
    plant(tmp_path, "USB Video")
    assert explain_device(tmp_path / "dev/video0", tmp_path) == ""


def test_a_program_that_is_not_there_says_nothing() -> None:
    assert ask_program(["/no/such/program"]) == ""


# The command


def printed(listing: Listing) -> str:
    console = Console(width=100, record=True, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    with console.file:
        show(console, listing)
        return console.export_text()


def test_the_list_shows_formats_sizes_rates_and_the_command_to_type() -> None:
    text = printed(Listing((Device("/dev/video0", "USB Video", modes("ms2109")),)))
    assert "/dev/video0  USB Video" in text
    assert "30, 25, 20, 10, 5" in text
    assert "scopeline live /dev/video0 --input-format mjpeg --size 1920x1080 --rate 30" in text


def test_an_empty_list_is_printed_with_its_reason() -> None:
    text = printed(Listing((), "plug the card in"))
    assert "no capture device" in text
    assert "plug the card in" in text


# What a live run asks of a card


def machine_with(text: str) -> Machine:
    return Machine(lambda words: text, lambda name: f"/usr/bin/{name}")


@pytest.mark.parametrize(
    "text", ["/dev/video0", "v4l2:/dev/video0", "/dev/v4l/by-id/usb-MACROSILICON-index0"]
)
def test_a_grabber_is_not_left_to_five_pictures_a_second(text: str) -> None:
    options, why = device_options(
        text, FeedOptions(), system="linux", machine=machine_with(recorded("ms2109"))
    )
    assert options == FeedOptions(size_px=FULL_HD, rate_hz=30, input_format="mjpeg")
    assert "5 Hz only" in why


def test_what_a_person_said_about_a_card_stays() -> None:
    said = FeedOptions(size_px=(1280, 720), input_format="yuyv422")
    options, _ = device_options(
        "/dev/video0", said, system="linux", machine=machine_with(recorded("magewell_usb"))
    )
    assert (options.size_px, options.input_format, options.rate_hz) == ((1280, 720), "yuyv422", 60)


def test_a_windows_card_is_asked_through_the_library() -> None:
    options, _ = device_options(
        "dshow:USB Video", FeedOptions(), system="win32", machine=machine_with(recorded("dshow_modes"))
    )
    assert (options.input_format, options.rate_hz) == ("mjpeg", 30)


@pytest.mark.parametrize("text", ["rtsp://scope/1", "udp://@:5000", "video.mp4", "synthetic", "raw:-"])
def test_a_feed_that_is_no_card_is_asked_nothing(text: str) -> None:
    said = FeedOptions()
    assert device_options(text, said, system="linux", machine=machine_with(recorded("ms2109"))) == (said, "")


def test_a_card_that_is_not_plugged_in_yet_is_left_as_it_is() -> None:
    said = FeedOptions(size_px=FULL_HD)
    missing = machine_with("Cannot open device /dev/video0, exiting.\n")
    assert device_options("/dev/video0", said, system="linux", machine=missing) == (said, "")


def test_a_card_that_lacks_what_was_said_is_told_before_it_is_opened() -> None:
    with pytest.raises(ConfigError, match=r"^/dev/video0: wanted .*, the device does not offer it"):
        device_options(
            "/dev/video0", FeedOptions(rate_hz=120), system="linux", machine=machine_with(recorded("ms2109"))
        )
