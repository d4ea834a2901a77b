"""Still judge: a pipeline's networks on single pictures, with the engine's own field finder, gate, views and judge.

A running engine wants three looks that agree before it trusts a field of view; one picture has only one, so its field
is that of `field_of_still`, as in training. Everything after that is what a stream goes through.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import cv2

from scopeline.backends import open_backend
from scopeline.bundle import Head, Input, load_bundle
from scopeline.config import Pipeline
from scopeline.crop import View
from scopeline.field_estimator import field_of_still
from scopeline.field_of_view import FieldOfView
from scopeline.judge import Judge, Model
from scopeline.picture import Picture, Pixels, rgb_pixels
from scopeline.prediction import Prediction, Probabilities, Reason
from scopeline.prepare import Prepared
from scopeline.quality import HardGate
from scopeline_training.seeing import whole_field


@dataclass(frozen=True, slots=True)
class JudgedStill:
    """One picture and what became of it."""

    pixels: Pixels
    """(H, W, 3) uint8 RGB, the whole picture."""
    field: FieldOfView
    """The whole picture where none was found."""
    is_field_found: bool
    views: tuple[Pixels, ...]
    """What the networks are shown, one per different input."""
    prediction: Prediction


class StillJudge:
    """Judges single pictures. Belongs to one thread at a time; close it.

    Args:
        pipeline: The set-up: bundles, and when which head is asked.

    Raises:
        BundleError, BackendError, ConfigError: a part of the pipeline is wrong; no model is left open.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        cv2.setNumThreads(1)
        self.pipeline = pipeline
        inputs: list[Input] = []
        models: list[Model] = []
        with ExitStack() as opened:
            for choice in pipeline.bundles:
                bundle = load_bundle(pipeline.bundle_path(choice))
                backend = open_backend(
                    choice.backend, bundle, threads=choice.threads, precision=choice.precision
                )
                opened.enter_context(closing(backend))
                if bundle.input not in inputs:
                    inputs.append(bundle.input)
                models.append(Model(bundle, backend, inputs.index(bundle.input)))
            self.models = tuple(models)
            self._views = [View(each.crop, each.width, each.height) for each in inputs]
            self._judge()  # a wrong rule is told here
            self._opened = opened.pop_all()

    @property
    def heads(self) -> tuple[Head, ...]:
        """In the order in which they are asked."""
        return tuple(head for model in self.models for head in model.bundle.heads)

    def judge(self, picture: Picture) -> JudgedStill:
        """One picture's field, views and verdict; quality first, the other heads as the pipeline's rules say."""
        pixels = rgb_pixels(picture)
        found = field_of_still(pixels)
        field = found or whole_field(picture.width, picture.height)
        views = tuple(view(picture, field) for view in self._views)
        reason = HardGate().check(views[0], 0.0)
        if reason is None and found is None:
            reason = Reason.NO_FIELD
        prepared = Prepared(0, 0, 0.0, time.monotonic_ns(), field, None, () if reason else views, reason)
        return JudgedStill(pixels, field, found is not None, views, self._judge().judge([prepared])[0])

    def answers(self, judged: JudgedStill) -> dict[str, Probabilities]:
        """What every head with labels would say, also those that the pipeline would not ask: for explanations."""
        said = {}
        for model in self.models:
            logits = model.backend.infer(judged.views[model.view][None])
            for head in model.bundle.heads:
                if head.role != "mask":
                    said[head.name] = head.probabilities(logits[head.name][0])
        return said

    def model_of(self, head: str) -> Model:
        """The model that a head belongs to."""
        return next(model for model in self.models if any(each.name == head for each in model.bundle.heads))

    def close(self) -> None:
        """Close the networks."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _judge(self) -> Judge:
        """A new one for each picture: a head that is asked every so often starts afresh."""
        return Judge(self.models, self.pipeline.heads, usable_at=self.pipeline.quality.usable_at)
