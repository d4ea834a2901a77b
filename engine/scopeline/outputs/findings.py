"""Findings: a finished run, as every output is given it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scopeline.contact_sheet import Cutout
from scopeline.outputs.frame_facts import FrameFacts, frame_facts
from scopeline.results_folder import read_frames
from scopeline.summary import Summary
from scopeline.tally import Tally
from scopeline.wire import FrameMessage


@dataclass(slots=True)
class Findings:
    """Where a run's results lie and what they add up to."""

    folder: Path
    """Holds what the run wrote; outputs go beside it."""
    video: Path
    tally: Tally
    summary: Summary
    cutouts: Mapping[int, Cutout]
    """Key frames by segment number, cut to the field of view; empty when no pictures may be stored."""
    _facts: FrameFacts | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """Of the recording, without its ending."""
        return self.video.stem

    def frames(self) -> Iterator[FrameMessage]:
        """Every frame, in order, from the disk.

        Raises:
            SourceError: they cannot be read.
        """
        return read_frames(self.folder)

    def facts(self) -> FrameFacts:
        """What must be known of all frames; read from the disk by the first output that asks.

        Raises:
            SourceError: they cannot be read.
        """
        if self._facts is None:
            self._facts = frame_facts(self.frames(), self.summary, self.tally.segments)
        return self._facts
