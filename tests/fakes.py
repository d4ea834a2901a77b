"""Stand-ins for a capture card, a network and a subscriber. They behave; nothing here is a mock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from scopeline.bundle import SCHEMA, Bundle, Description, Head, Input, Network, Training
from scopeline.crop import CropKind
from scopeline.frame import Frame
from scopeline.picture import Pixels, picture_from_rgb
from scopeline.wire import FrameMessage, Message, SegmentMessage, StatusMessage


def scope_pixels(brightness: int = 120, *, seed: int = 0, width: int = 160, height: int = 128) -> Pixels:
    """A textured reddish picture that fills its signal: field of view `full`, never black, white or frozen."""
    noise = np.random.default_rng(seed).integers(-20, 21, (height, width, 3))
    coloured = noise + np.array([brightness + 40, brightness, brightness - 20])
    return np.asarray(np.clip(coloured, 30, 240), np.uint8)


class ScriptedSource:
    """Plays a script: pixels to show, an exception to raise, or a function to call first.

    Args:
        script: What happens, in order; one picture per step.
        fps: Stream time grows by 1 / fps per picture.
    """

    def __init__(
        self,
        script: Sequence[Pixels | BaseException | Callable[[], object]],
        *,
        fps: float = 10.0,
        stamp: Callable[[], int] = lambda: 0,
    ) -> None:
        self.name = "script"
        self.damaged: Mapping[str, int] = {}
        self.duration_s: float | None = None
        self.closed = threading.Event()
        self._script, self._fps, self._stamp = script, fps, stamp

    def frames(self) -> Iterator[Frame]:
        seq = 0
        for step in self._script:
            if self.closed.is_set():
                return
            if isinstance(step, BaseException):
                raise step
            if callable(step):
                step()
                continue
            yield Frame(seq, self._stamp(), seq / self._fps, picture_from_rgb(step))
            seq += 1

    def close(self) -> None:
        self.closed.set()


class EndlessSource(ScriptedSource):
    """Shows the same few pictures for ever, until it is closed."""

    def __init__(self, pictures: int = 4, **options: float) -> None:
        super().__init__([scope_pixels(seed=seed) for seed in range(pictures)], **options)  # type: ignore[arg-type]

    def frames(self) -> Iterator[Frame]:
        seq = 0
        while not self.closed.is_set():
            pixels = self._script[seq % len(self._script)]
            assert isinstance(pixels, np.ndarray)
            yield Frame(seq, self._stamp(), seq / self._fps, picture_from_rgb(pixels))
            seq += 1


class FakeBackend:
    """A network whose answer a test can predict: `answer` maps one picture to logits per head.

    `gate` makes it slow: each inference waits for one release. `fail_at` makes the n-th inference (from 0) raise.
    """

    name = "fake"
    precision = "fp32"

    def __init__(
        self,
        answer: Callable[[Pixels], Mapping[str, Sequence[float] | NDArray[np.float32]]],
        *,
        gate: threading.Semaphore | None = None,
        fail_at: int | None = None,
    ) -> None:
        self._answer, self._gate, self._fail_at = answer, gate, fail_at
        self.batches: list[int] = []
        self.closed = False

    def infer(self, pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
        if self._gate is not None:
            self._gate.acquire()
        if self._fail_at == len(self.batches):
            raise RuntimeError("the fake network was told to fail")
        self.batches.append(len(pixels))
        answers = [self._answer(picture) for picture in pixels]
        return {name: np.array([answer[name] for answer in answers], np.float32) for name in answers[0]}

    def close(self) -> None:
        self.closed = True


class CollectingSink:
    """Keeps every message. `gate` makes it slow, `fail_at` makes the n-th message (from 0) raise."""

    def __init__(self, *, gate: threading.Semaphore | None = None, fail_at: int | None = None) -> None:
        self.messages: list[Message] = []
        self.closed = False
        self._gate, self._fail_at = gate, fail_at

    def __call__(self) -> CollectingSink:
        """A sink is given to the engine as a factory; this one makes itself."""
        return self

    def publish(self, message: Message) -> None:
        if self._gate is not None:
            self._gate.acquire()
        if self._fail_at == len(self.messages):
            raise OSError("no space left on device")
        self.messages.append(message)

    def close(self) -> None:
        self.closed = True

    @property
    def frames(self) -> list[FrameMessage]:
        return [message for message in self.messages if isinstance(message, FrameMessage)]

    @property
    def segments(self) -> list[SegmentMessage]:
        return [message for message in self.messages if isinstance(message, SegmentMessage)]

    @property
    def statuses(self) -> list[StatusMessage]:
        return [message for message in self.messages if isinstance(message, StatusMessage)]


QUALITY = Head(name="quality", role="quality", labels=("bad", "good"))
ORGAN = Head(name="organ", role="location", labels=("outside", "rectum", "sigmoid"))
MES = Head(name="mes", role="grade", labels=("0", "1", "2", "3"))
POLYP = Head(name="polyp", role="mask", labels=("polyp",), threshold=0.5)


def description(
    *heads: Head, name: str = "fake", size: int = 32, crop: CropKind = CropKind.INSCRIBED
) -> Description:
    """What bundle.toml would say of a network for tests."""
    return Description(
        schema=SCHEMA,
        name=name,
        version="0",
        licence="Apache-2.0",
        notice="Research use only.",
        input=Input(width=size, height=size, crop=crop),
        network=Network(file="model.onnx", sha256="0" * 64, opset=17),
        training=Training(recipe="", command="", data="none", data_sha256="", seed=0),
        heads=heads,
    )


def fake_bundle(*heads: Head, name: str = "fake") -> Bundle:
    """A bundle that exists only in memory, for a `FakeBackend`."""
    return Bundle(folder=Path("nowhere"), **msgspec.structs.asdict(description(*heads, name=name)))
