"""Mask results: what is told of a frame's masks. It follows from the frame alone, so it can be found out anywhere."""

from __future__ import annotations

from collections.abc import Mapping

from scopeline.field_of_view import FieldOfView
from scopeline.marked_area import MaskTracer, run_lengths
from scopeline.prediction import MaskProbabilities, Prediction
from scopeline.wire import MaskResult, RunLengths

_DIGITS = 5
"""As of all published probabilities."""


def tell_masks(
    tracers: Mapping[str, MaskTracer], prediction: Prediction, field: FieldOfView, *, rle: bool
) -> dict[str, MaskResult]:
    """By mask head, what it marks; `rle` adds run lengths to the outlines."""
    return {
        name: _tell(tracers[name], probabilities, field, rle)
        for name, probabilities in prediction.masks.items()
    }


def _tell(tracer: MaskTracer, probabilities: MaskProbabilities, field: FieldOfView, rle: bool) -> MaskResult:
    area = tracer.trace(probabilities, field)
    runs = run_lengths(area.marked) if rle else None
    height, width = area.marked.shape
    return MaskResult(
        label=tracer.head.labels[0],
        threshold=tracer.threshold,
        share=round(area.share, _DIGITS),
        peak=round(area.peak, _DIGITS),
        box=area.box,
        regions=area.regions,
        contours=[list(outline) for outline in area.outlines],
        rle=None if runs is None else RunLengths(size=(height, width), counts=runs),
    )
