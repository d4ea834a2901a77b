"""Synthetic examples: frames of simulated procedures and still scenes, with the truth that was planted in them.

They prove that the whole way works, from pixels to segments. They say nothing about patients.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import av
import numpy as np

from scopeline.crop import View
from scopeline.picture import Picture, Pixels, picture_from_rgb
from scopeline.simulation.procedure import ORGANS, Procedure, simulate_procedure
from scopeline.simulation.renderer import Renderer
from scopeline.simulation.screen import LAYOUTS, screen_named
from scopeline.simulation.view import Pose, Room, Tunnel, random_look
from scopeline_training.examples import UNKNOWN, Examples
from scopeline_training.recipe import InputPlan, SyntheticData
from scopeline_training.seeing import field_of_clip

DEMO_SEED = 7
"""The seed of the shipped demo. Never trained on."""
FIELD_PICTURES = 12
"""Pictures whose brightest values give a clip's field."""
SCENE_POSES = 8

Advance = Callable[[], object]


@dataclass(slots=True)
class _Gathered:
    """Examples in the making."""

    pixels: list[Pixels]
    quality: list[int]
    organ: list[int]
    mes: list[int]
    groups: list[int]
    names: list[str]

    def add(
        self, pixels: Pixels, *, usable: bool, organ: str, mes: int | None, group: int, name: str
    ) -> None:
        self.pixels.append(pixels)
        self.quality.append(int(usable))
        self.organ.append(ORGANS.index(organ) if usable else UNKNOWN)
        self.mes.append(mes if mes is not None and usable else UNKNOWN)
        self.groups.append(group)
        self.names.append(name)

    def examples(self) -> Examples:
        targets = {"quality": self.quality, "organ": self.organ, "mes": self.mes}
        return Examples(
            np.stack(self.pixels),
            {head: np.array(each, np.int64) for head, each in targets.items()},
            np.array(self.groups, np.int64),
            tuple(self.names),
        )


def training_examples(data: SyntheticData, plan: InputPlan, seed: int, advance: Advance) -> Examples:
    """Everything the recipe asks to train on; one group per procedure or scene."""
    gathered = _Gathered([], [], [], [], [], [])
    for number in range(data.procedures):
        encoded = number < data.encoded_procedures
        _add_procedure(gathered, data.first_seed + number, data.frames_per_procedure, plan, encoded=encoded)
        advance()
    rng = np.random.default_rng(seed)
    for number in range(data.scenes):
        _add_scene(gathered, rng, plan, group=1_000_000 + number)
        advance()
    return gathered.examples()


def held_out_examples(data: SyntheticData, plan: InputPlan, advance: Advance) -> Examples:
    """Frames of procedures that were not trained on; every second one was encoded."""
    gathered = _Gathered([], [], [], [], [], [])
    for number in range(data.held_out_procedures):
        seed = data.first_seed + data.procedures + number
        _add_procedure(gathered, seed, data.frames_per_procedure, plan, encoded=number % 2 == 1)
        advance()
    return gathered.examples()


def _add_procedure(gathered: _Gathered, seed: int, frames: int, plan: InputPlan, *, encoded: bool) -> None:
    if seed == DEMO_SEED:
        raise ValueError(
            f"seed {DEMO_SEED} is the demo's own and is never trained on; choose another first_seed"
        )
    procedure = simulate_procedure(seed=seed)
    renderer = Renderer(procedure)
    rng = np.random.default_rng((seed, 77))
    chosen = np.sort(rng.choice(procedure.frame_count, frames, replace=False))
    pictures = list(_pictures(procedure, renderer, chosen.tolist(), encoded=encoded))
    clear = [picture for number, picture in pictures if procedure.truth_at(number).usable]
    field = field_of_clip(clear[:: max(1, len(clear) // FIELD_PICTURES)])
    view = View(plan.crop, plan.size, plan.size)
    for number, picture in pictures:
        truth = procedure.truth_at(number)
        if truth.disturbance == "freeze" or _is_crossing(procedure, truth.time_s):
            continue  # a frozen picture looks fine, and a crossing shows two places
        gathered.add(
            view(picture, field), usable=truth.usable, organ=truth.organ, mes=truth.mes, group=seed,
            name=f"procedure {seed} frame {number}",
        )  # fmt: skip


def _pictures(
    procedure: Procedure, renderer: Renderer, chosen: list[int], *, encoded: bool
) -> Iterator[tuple[int, Picture]]:
    if not encoded:
        yield from ((number, picture_from_rgb(renderer.render(number))) for number in chosen)
        return
    # Short clips of four neighbours, so that the encoder predicts from motion as it does in a recording.
    for number in chosen[::4]:
        numbers = [n for n in range(number, number + 4) if n < procedure.frame_count]
        decoded = _through_h264([renderer.render(n) for n in numbers], crf=20 + number % 9)
        yield from zip(numbers, decoded, strict=True)


def _through_h264(pictures: list[Pixels], *, crf: int) -> list[Picture]:
    """The pictures after an H.264 encoder and decoder, in the decoder's own format."""
    memory = io.BytesIO()
    with av.open(memory, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": str(crf), "x264-params": "threads=1"}
        for pixels in pictures:
            container.mux(stream.encode(picture_from_rgb(pixels)))
        container.mux(stream.encode())
    memory.seek(0)
    with av.open(memory, "r") as container:
        return list(container.decode(video=0))


def _is_crossing(procedure: Procedure, time_s: float) -> bool:
    return procedure.segment_at(max(time_s - 0.2, 0.0)) != procedure.segment_at(time_s + 0.2)


def _add_scene(gathered: _Gathered, rng: np.random.Generator, plan: InputPlan, *, group: int) -> None:
    """One wall or room on a random screen, seen from several poses."""
    organ, mes = str(rng.choice(ORGANS)), int(rng.integers(4))
    screen = screen_named(LAYOUTS[rng.integers(len(LAYOUTS))].name, 960, 720)
    height = int(rng.integers(260, 420))
    width = round(screen.field_box[2] * height / screen.field_box[3])
    seed, look = int(rng.integers(2**31)), random_look(rng)
    scene = (
        Room(seed, look, width, height)
        if organ == "outside"
        else Tunnel(organ, mes, seed, look, width, height)
    )
    pictures = [
        picture_from_rgb(_with_noise(screen.compose(scene.view(_random_pose(rng, organ)), 60.0), rng))
        for _ in range(SCENE_POSES)
    ]
    field, view = field_of_clip(pictures), View(plan.crop, plan.size, plan.size)
    for number, picture in enumerate(pictures):
        gathered.add(
            view(picture, field), usable=True, organ=organ, mes=None if organ == "outside" else mes, group=group,
            name=f"scene {seed} pose {number}",
        )  # fmt: skip


def _random_pose(rng: np.random.Generator, organ: str) -> Pose:
    """Poses as wide as the renderer's own motion."""
    wide = 0.72 if organ == "sigmoid" else 0.42
    angle, reach = rng.uniform(0, 2 * np.pi), wide * np.sqrt(rng.uniform())
    return Pose(
        travel=float(rng.uniform(0, 60)),
        roll=float(rng.uniform(0.1, 1.1)),
        lumen=(float(reach * np.cos(angle)), float(0.8 * reach * np.sin(angle))),
        zoom=float(rng.uniform(0.9, 1.1)),
    )


def _with_noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    noise = rng.normal(2.2, 2.2, pixels.shape[:2])[..., None].clip(0)
    noisy: Pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
    return noisy
