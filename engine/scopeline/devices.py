"""Capture devices: which there are, what they can deliver, what to ask of them, and why one cannot be opened.

On Linux names come from the kernel's own files and modes from `v4l2-ctl`, the tool of the people who make the
interface. Asking the driver ourselves would spare the tool, but what asks must be right about every driver's
oddities, and no driver was at hand to prove it on. On Windows and macOS the FFmpeg inside PyAV is asked, because it
is also what opens the device.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scopeline.errors import ConfigError
from scopeline.probe import AskProgram, ask_program

_SAME_RATE: Final = 0.01
"""Share by which two rates may differ and still be the same: 60 and 59.94 are, 25 and 24 are not."""


@dataclass(frozen=True, slots=True)
class Mode:
    """One thing that a device can deliver."""

    input_format: str
    """FFmpeg's name (`nv12`, `mjpeg`), or the device's own in quotes when FFmpeg takes none such."""
    least_px: tuple[int, int]
    """Width and height; the same as `most_px` unless the device offers every size between."""
    most_px: tuple[int, int]
    rates_hz: tuple[float, ...]
    """Highest first; empty when the device does not say."""
    any_rate: bool = False
    """Whether every rate between the lowest and the highest goes."""

    def has_size(self, size_px: tuple[int, int]) -> bool:
        return all(
            least <= wanted <= most
            for least, wanted, most in zip(self.least_px, size_px, self.most_px, strict=True)
        )

    def rate_at_most(self, wanted_hz: float) -> float | None:
        """The highest rate that does not exceed the wanted one; None when all do or none is known."""
        if self.any_rate and self.rates_hz and self.rates_hz[-1] <= wanted_hz <= self.rates_hz[0]:
            return wanted_hz
        return next((rate for rate in self.rates_hz if rate <= wanted_hz * (1 + _SAME_RATE)), None)


@dataclass(frozen=True, slots=True)
class Device:
    """One capture device."""

    address: str
    """What to type after `scopeline live`."""
    name: str
    modes: tuple[Mode, ...]
    trouble: str = ""
    """Why its modes are not known, or why it cannot be opened, and what to do."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All devices of this machine."""

    devices: tuple[Device, ...]
    explanation: str = ""
    """Why there are none."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to ask of a device."""

    input_format: str
    size_px: tuple[int, int]
    rate_hz: float | None
    """None: the device does not say which it has."""
    why: str


# Which devices there are


def list_devices(system: str = sys.platform, machine: Machine | None = None) -> Listing:
    """Every capture device that a feed can be opened on. Takes up to some seconds; opens none for pictures."""
    here = machine or Machine()
    if system.startswith("linux"):
        return _on_linux(here)
    if system == "win32":
        return _on_windows(here)
    if system == "darwin":
        return _on_mac(here)
    return Listing((), f"capture devices are known on Linux, Windows and macOS; this is {system}")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a listing looks; a test plants its own."""

    run: AskProgram = ask_program
    which: Callable[[str], str | None] = shutil.which
    root: Path = Path("/")
    """Above `dev`, `sys` and `proc`."""


def device_modes(
    address: str, system: str = sys.platform, machine: Machine | None = None
) -> tuple[Mode, ...]:
    """What one device can deliver, by its address; empty when that cannot be known."""
    here = machine or Machine()
    kind, _, rest = address.partition(":")
    if system.startswith("linux"):
        node, tool = Path(rest if kind == "v4l2" else address), here.which("v4l2-ctl")
        return parse_v4l2_modes(here.run([tool, "--device", str(node), "--list-formats-ext"])) if tool else ()
    if system == "win32" and kind == "dshow":
        place = f"video={rest.removeprefix('video=')}"
        return parse_dshow_modes(here.run(_ask_library("dshow", place, "list_options")))
    return ()


def _on_linux(machine: Machine) -> Listing:
    places = _video_nodes(machine.root)
    if not places:
        return Listing((), explain_no_device(machine.root))
    listed = (_linux_device(place, machine) for place in places)
    devices = tuple(device for device in listed if device is not None)
    why = "" if devices else "every /dev/video* is a metadata or output node; none delivers pictures"
    return Listing(devices, why)


def _video_nodes(root: Path) -> list[Path]:
    nodes = (root / "dev").glob("video*")
    return sorted((node for node in nodes if node.name[5:].isdecimal()), key=lambda node: int(node.name[5:]))


def _linux_device(node: Path, machine: Machine) -> Device | None:
    """None for a node that delivers no pictures: every UVC card has a second one for metadata."""
    address = f"/dev/{node.name}"
    name = _text(machine.root / "sys/class/video4linux" / node.name / "name") or "unnamed"
    trouble = explain_device(node, machine.root)
    tool = machine.which("v4l2-ctl")
    if tool is None:
        tip = "its formats are not known without v4l2-ctl: apt-get install v4l-utils"
        return Device(address, name, (), trouble or tip)
    said = machine.run([tool, "--device", address, "--list-formats-ext"])
    if "Video Capture Multiplanar" in said:
        return Device(address, name, parse_v4l2_modes(said), _MULTIPLANAR.format(address))
    modes = parse_v4l2_modes(said)
    if modes or trouble:
        return Device(address, name, modes, trouble)
    if "Type: Video Capture" in said:
        return None
    return Device(address, name, (), f"v4l2-ctl could not ask it: {_last_line(said)}")


_MULTIPLANAR: Final = (
    "multi-planar, which FFmpeg cannot open; let GStreamer read it: gst-launch-1.0 -q v4l2src device={} ! "
    "videoconvert ! video/x-raw,format=NV12 ! fdsink | scopeline live raw:- ..."
)


def _on_windows(machine: Machine) -> Listing:
    names = parse_dshow_devices(machine.run(_ask_library("dshow", "dummy", "list_devices")))
    if not names:
        return Listing(
            (),
            "Windows lists no camera or capture card: check Device Manager for the card's driver, and Settings > "
            "Privacy > Camera for desktop apps; a Blackmagic card needs Desktop Video, and an ffmpeg for decklink:",
        )
    return Listing(
        tuple(
            Device(
                f"dshow:{name}",
                name,
                parse_dshow_modes(machine.run(_ask_library("dshow", f"video={name}", "list_options"))),
            )
            for name in names
        )
    )


def _on_mac(machine: Machine) -> Listing:
    names = parse_avfoundation_devices(machine.run(_ask_library("avfoundation", "", "list_devices")))
    if not names:
        return Listing(
            (),
            "macOS lists no camera or capture card: allow the terminal in System Settings > Privacy & Security > "
            "Camera, and check that the card's driver is installed",
        )
    unknown = "macOS tells its sizes and rates only when it is opened with a wrong one"
    return Listing(tuple(Device(f"avfoundation:{name}", name, (), unknown) for name in names))


def _ask_library(form: str, place: str, option: str) -> list[str]:
    """A command that lets the FFmpeg inside PyAV print its list, in a process that a broken driver may take down."""
    code = (
        "import av, av.logging\n"
        "av.logging.set_level(av.logging.INFO)\n"
        "av.logging.restore_default_callback()\n"
        f"av.open({place!r}, format={form!r}, options={{{option!r}: 'true'}})\n"
    )
    return [sys.executable, "-c", code]


# What they say of themselves

_FOURCC: Final = {"MJPG": "mjpeg", "YUYV": "yuyv422", "NV12": "nv12", "UYVY": "uyvy422", "JPEG": "mjpeg"}
_SIZE: Final = re.compile(r"Size: (?:Discrete (\d+)x(\d+)|(?:Stepwise|Continuous) (\d+)x(\d+) - (\d+)x(\d+))")
_ONE_RATE: Final = re.compile(r"Interval: Discrete .*\(([\d.]+) fps\)")
_RATES: Final = re.compile(r"Interval: (?:Stepwise|Continuous) .*\(([\d.]+)-([\d.]+) fps\)")


def parse_v4l2_modes(text: str) -> tuple[Mode, ...]:
    """The modes in what `v4l2-ctl --list-formats-ext` prints."""
    modes: list[Mode] = []
    input_format = ""
    for line in text.splitlines():
        if match := re.search(r"\[\d+\]: '(.+?)'", line):
            input_format = _FOURCC.get(match[1].strip(), f"'{match[1].strip()}'")
        elif match := _SIZE.search(line):
            sizes = [int(each) for each in match.groups() if each is not None]
            modes.append(Mode(input_format, (sizes[0], sizes[1]), (sizes[-2], sizes[-1]), ()))
        elif modes and (match := _ONE_RATE.search(line)):
            modes[-1] = _with_rates(modes[-1], [*modes[-1].rates_hz, float(match[1])])
        elif modes and (match := _RATES.search(line)):
            modes[-1] = _with_rates(modes[-1], [float(match[1]), float(match[2])], any_rate=True)
    return tuple(modes)


_DSHOW_MODE: Final = re.compile(
    r"(?:vcodec|pixel_format)=(\w+)\s+min s=(\d+)x(\d+) fps=([\d.]+) max s=(\d+)x(\d+) fps=([\d.]+)"
)


def parse_dshow_modes(text: str) -> tuple[Mode, ...]:
    """The modes in what FFmpeg's `list_options` of DirectShow prints; each is printed with and without colours."""
    modes: dict[Mode, None] = {}
    for match in _DSHOW_MODE.finditer(text):
        name, *numbers = match.groups()
        least, most = (int(numbers[0]), int(numbers[1])), (int(numbers[3]), int(numbers[4]))
        mode = Mode(name, least, most, ())
        modes[_with_rates(mode, [float(numbers[2]), float(numbers[5])], any_rate=True)] = None
    return tuple(modes)


def parse_dshow_devices(text: str) -> tuple[str, ...]:
    """Names of video devices in what FFmpeg's `list_devices` of DirectShow prints."""
    return tuple(dict.fromkeys(re.findall(r'^\[[^\]]*\] "(.+)" \(video\)', text, re.MULTILINE)))


def parse_avfoundation_devices(text: str) -> tuple[str, ...]:
    """Names of cameras in what FFmpeg's `list_devices` of AVFoundation prints; screens are none."""
    video = text.partition("AVFoundation video devices:")[2].partition("AVFoundation audio devices:")[0]
    names = re.findall(r"\] \[\d+\] (.+)", video)
    return tuple(name for name in names if not name.startswith("Capture screen"))


def _with_rates(mode: Mode, rates_hz: Iterable[float], *, any_rate: bool = False) -> Mode:
    rates = tuple(sorted(set(rates_hz), reverse=True))
    return Mode(mode.input_format, mode.least_px, mode.most_px, rates, any_rate and len(rates) > 1)


# What to ask of one

COST_ORDER: Final = ("nv12", "uyvy422", "yuyv422", "mjpeg")
"""Cheapest first: to cut and scale one 1080p picture to 224 px takes 0.8, 1.1, 1.8 and, with its decoding, 12 ms of a
core; MJPEG of a detailed picture, 660 kB."""

_WANTED_PX: Final = (1920, 1080)
"""The most that is asked for unprompted: networks are shown a few hundred pixels, the rest only costs."""
_WANTED_HZ: Final = 60.0
_ENOUGH_HZ: Final = 24.0
"""Rates from here on show a scope's motion; less is taken only where the device has no more."""


def choose_format(
    modes: Sequence[Mode],
    *,
    size_px: tuple[int, int] | None = None,
    rate_hz: float | None = None,
    input_format: str | None = None,
) -> Choice:
    """The cheapest format in which the device delivers what is wanted.

    Uncompressed before MJPEG, which costs its decoding and has lost detail already, unless uncompressed pictures
    come too slowly, as they do over USB 2.

    Raises:
        ConfigError: the device does not offer that; says what it offers.
    """
    usable = [mode for mode in modes if mode.input_format in COST_ORDER]
    if not usable:
        offered = ", ".join(dict.fromkeys(mode.input_format for mode in modes)) or "nothing"
        raise ConfigError(f"wanted a device with {', '.join(COST_ORDER)}; this one offers {offered}")
    asked = [mode for mode in usable if input_format in {None, mode.input_format}]
    size = size_px or _best_size(asked, rate_hz)
    fitting = [mode for mode in asked if size is not None and mode.has_size(size)]
    if size is None or not fitting:
        raise ConfigError(_not_offered(usable, size_px, rate_hz, input_format))
    rates = {mode: _best_rate(mode, rate_hz) for mode in fitting}
    if rate_hz is not None:
        rates = {mode: rate for mode, rate in rates.items() if rate is None or _same_rate(rate, rate_hz)}
    if not rates:
        raise ConfigError(_not_offered(usable, size, rate_hz, input_format))
    enough = [
        mode for mode, rate in rates.items() if rate is None or rate >= min(_ENOUGH_HZ, rate_hz or _ENOUGH_HZ)
    ]
    fastest = max(rates[mode] or 0.0 for mode in rates)
    pool = enough or [mode for mode in rates if (rates[mode] or 0.0) == fastest]
    best = min(pool, key=lambda mode: COST_ORDER.index(mode.input_format))
    return Choice(best.input_format, size, rates[best], _why(best, size, rates[best], fitting, input_format))


def _best_size(modes: Sequence[Mode], rate_hz: float | None) -> tuple[int, int] | None:
    """The largest size up to 1080p that comes fast enough; else the largest, else the smallest there is."""
    sizes = {_within(mode) for mode in modes}

    def fastest(size: tuple[int, int]) -> float:
        rates = (_best_rate(mode, rate_hz) for mode in modes if mode.has_size(size))
        return max((_WANTED_HZ if rate is None else rate for rate in rates), default=0.0)

    def fits(size: tuple[int, int]) -> bool:
        return size[0] <= _WANTED_PX[0] and size[1] <= _WANTED_PX[1]

    small_enough = [size for size in sizes if fits(size)] or sorted(sizes)[:1]
    fast = [size for size in small_enough if fastest(size) >= min(_ENOUGH_HZ, rate_hz or _ENOUGH_HZ)]
    return max(fast or small_enough, key=lambda size: size[0] * size[1], default=None)


def _within(mode: Mode) -> tuple[int, int]:
    """The size of a mode that is nearest to what is wanted unprompted."""
    return mode.most_px if mode.least_px == mode.most_px or not mode.has_size(_WANTED_PX) else _WANTED_PX


def _best_rate(mode: Mode, rate_hz: float | None) -> float | None:
    if not mode.rates_hz:
        return None
    return mode.rate_at_most(rate_hz or _WANTED_HZ) or mode.rates_hz[-1]


def _same_rate(one_hz: float, other_hz: float) -> bool:
    return abs(one_hz - other_hz) <= _SAME_RATE * other_hz


def _why(
    mode: Mode,
    size: tuple[int, int],
    rate_hz: float | None,
    fitting: Sequence[Mode],
    input_format: str | None,
) -> str:
    what = f"{mode.input_format} {size[0]}x{size[1]}" + (f" at {rate_hz:g} Hz" if rate_hz else "")
    if input_format is not None:
        return f"{what}: the format that was asked for"
    if mode.input_format != "mjpeg":
        return f"{what}: uncompressed, nothing to decode"
    raw = [each for each in fitting if each.input_format != "mjpeg" and each.rates_hz]
    if not raw:
        return f"{what}: the device has nothing uncompressed of this size"
    fastest = max(raw, key=lambda each: each.rates_hz[0])
    return (
        f"{what}: compressed, for uncompressed ({fastest.input_format}) it reaches {fastest.rates_hz[0]:g} Hz only; "
        "a USB 3 port or card would do better"
    )


def _not_offered(
    modes: Sequence[Mode], size_px: tuple[int, int] | None, rate_hz: float | None, input_format: str | None
) -> str:
    wanted = " ".join(
        part
        for part in (
            input_format or "",
            f"{size_px[0]}x{size_px[1]}" if size_px else "",
            f"at {rate_hz:g} Hz" if rate_hz else "",
        )
        if part
    )
    offered = "; ".join(
        f"{name} {', '.join(_short(mode) for mode in modes if mode.input_format == name)}"
        for name in dict.fromkeys(mode.input_format for mode in modes)
    )
    return f"wanted {wanted or 'a picture'}, the device does not offer it; it offers {offered}"


def size_text(mode: Mode) -> str:
    """The size of a mode: `1920x1080`, or `320x240 to 3840x2160`."""
    most = f"{mode.most_px[0]}x{mode.most_px[1]}"
    return most if mode.least_px == mode.most_px else f"{mode.least_px[0]}x{mode.least_px[1]} to {most}"


def _short(mode: Mode) -> str:
    """`1920x1080 up to 30 Hz`."""
    return size_text(mode) + (f" up to {mode.rates_hz[0]:g} Hz" if mode.rates_hz else "")


def rates_text(mode: Mode) -> str:
    """The rates of a mode in Hz: `60, 50, 30`, or `5 to 60`."""
    if mode.any_rate:
        return f"{mode.rates_hz[-1]:g} to {mode.rates_hz[0]:g}"
    return ", ".join(f"{rate:g}" for rate in mode.rates_hz)


# Why there is none, and why one cannot be opened

_BLACKMAGIC: Final = "0xbdbd"
_MAGEWELL: Final = "0x1cd7"
_USB_VIDEO_CLASS: Final = "0e"


def explain_no_device(root: Path = Path("/")) -> str:
    """Why there is no /dev/video*, and what to do."""
    vendors = {_text(path) for path in (root / "sys/bus/pci/devices").glob("*/vendor")}
    classes = {_text(path) for path in (root / "sys/bus/usb/devices").glob("*/bInterfaceClass")}
    drivers = {path.name for path in (root / "sys/class/video4linux").glob("video*")}
    if drivers and _in_container(root):
        first, there = sorted(drivers)[0], ", ".join(sorted(drivers))
        return f"the machine has {there}, this container does not: start it with --device /dev/{first}"
    if _BLACKMAGIC in vendors:
        return (
            "a Blackmagic card is plugged in; it has no /dev/video* but speaks DeckLink: install Desktop Video and an "
            "ffmpeg built with --enable-decklink, then decklink:NAME (docs/capture.md)"
        )
    if _MAGEWELL in vendors:
        return (
            "a Magewell card is plugged in, its driver is not loaded: install the vendor's ProCapture driver"
        )
    if _USB_VIDEO_CLASS in classes:
        return "a USB video device is plugged in, its driver is not loaded: modprobe uvcvideo"
    if not (root / "sys/class/video4linux").is_dir():
        return (
            "no /dev/video*, and the kernel has no video devices at all: plug the card in and load its driver; in a "
            "container or virtual machine hand the device in (--device /dev/video0); kernels for servers and clouds "
            "may lack media support. Network streams and raw pipes work without"
        )
    return "no /dev/video*: plug the card in; `dmesg | tail` says whether the kernel saw it and what it lacks"


def explain_device(node: Path, root: Path = Path("/")) -> str:
    """Why a device cannot be opened, and what to do; empty when nothing stands in the way.

    Looks and does not open, so that a device in use is not disturbed.
    """
    if not node.exists():
        return f"{node} is not there; it was pulled out, or has another number now: use its name in /dev/v4l/by-id"
    if not os.access(node, os.R_OK | os.W_OK):
        return (
            f"no permission for {node}: sudo usermod -aG video $USER, then log in again; "
            "in a container --group-add video"
        )
    if others := holders(node, root):
        return (
            f"{node} is in use by {', '.join(others)}; a capture device gives its pictures to one program: "
            "end that one"
        )
    return ""


def holders(node: Path, root: Path = Path("/")) -> list[str]:
    """Programs of which we may know that have the device open, as `name (process 123)`; ours is left out."""
    target, found = node.resolve(), []
    for process in sorted((root / "proc").glob("[0-9]*"), key=lambda path: path.name):
        if process.name == str(os.getpid()):
            continue
        try:
            is_open = any(_leads_to(link, target) for link in (process / "fd").iterdir())
        except OSError:  # another user's process, or one that has just ended
            continue
        if is_open:
            found.append(f"{_text(process / 'comm') or 'a program'} (process {process.name})")
    return found


def _leads_to(link: Path, target: Path) -> bool:
    try:
        return Path(os.readlink(link)) == target
    except OSError:
        return False


def _in_container(root: Path) -> bool:
    return any((root / name).exists() for name in (".dockerenv", "run/.containerenv"))


def _text(path: Path) -> str:
    """The text of a small file of the kernel's; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"
