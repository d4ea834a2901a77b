"""Findings: a finished run, as every output is given it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scopeline.contact_sheet import Cutout
from scopeline.results_folder import read_frames
from scopeline.summary import Summary
from scopeline.tally import Tally
from scopeline.wire import FrameMessage


@dataclass(frozen=True, slots=True)
class Findings:
    """Where a run's results lie and what they add up to."""

    folder: Path
    """Holds what the run wrote; outputs go beside it."""
    video: Path
    tally: Tally
    summary: Summary
    cutouts: Mapping[int, Cutout]
    """Key frames by segment number, cut to the field of view; empty when no pictures may be stored."""

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
