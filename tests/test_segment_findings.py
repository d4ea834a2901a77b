from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from fakes import MES, ORGAN, POLYP, QUALITY
from messages import Script, mask_result
from scopeline.bundle import Head
from scopeline.chapters import chapter_title
from scopeline.segment_findings import findings_cell, findings_text, inside, most_found, said_of_frame, summed
from scopeline.segment_table import segments_csv
from scopeline.segment_tally import GradeRules, SegmentTally, Sighting
from scopeline.segments import Observation, Segmenter, SegmentSettings
from scopeline.summary import conclude_procedure
from scopeline.wire import SegmentMessage

FINDING = Head(name="finding", role="finding", labels=("polyp", "ulcerative-colitis"))
HEADS = (QUALITY, ORGAN, MES, FINDING, POLYP)
SCORES = {head.name: np.eye(len(head.labels), dtype=np.float32)[1] for head in HEADS if head.role != "mask"}
FRAME = Sighting(0, 0.0, 0.1, 1.0, None, None, None, None, {"finding": "polyp"})


def test_quality_location_and_grade_are_told_elsewhere() -> None:
    assert said_of_frame(HEADS, SCORES, {}) == {"finding": "ulcerative-colitis"}


def test_a_head_that_was_not_asked_says_nothing() -> None:
    assert said_of_frame(HEADS, {}, {}) == {}


@pytest.mark.parametrize(("regions", "said"), [(2, "polyp"), (0, "none")])
def test_a_mask_says_its_label_where_it_marks_something(regions: int, said: str) -> None:
    masks = {"polyp": msgspec.structs.replace(mask_result(), regions=regions)}
    assert said_of_frame(HEADS, {}, masks) == {"polyp": said}


def test_only_usable_frames_are_counted() -> None:
    tally = SegmentTally(GradeRules(0, 0.5, 0.6, 0.9, 2.0), location_count=0, location=None)
    for place in range(5):
        tally.add(replace(FRAME, seq=place, time_s=place / 10, reason="blurred" if place == 2 else None))
    assert tally.findings == {"finding": {"polyp": 4}}


def test_a_copy_of_a_tally_counts_on_alone() -> None:
    tally = SegmentTally(GradeRules(0, 0.5, 0.6, 0.9, 2.0), location_count=0, location=None)
    tally.add(FRAME)
    twin = tally.copy()
    twin.add(replace(FRAME, seq=1, time_s=0.1))
    assert (tally.findings, twin.findings) == ({"finding": {"polyp": 1}}, {"finding": {"polyp": 2}})


def test_frames_are_counted_in_the_segment_that_they_belong_to_in_the_end() -> None:
    segmenter = Segmenter(SegmentSettings(), ("rectum", "sigmoid"), 0)
    final = []
    for place in range(600):  # 30 s of the rectum with polyps, 30 s of the sigmoid without
        here = int(place >= 300)
        observation = Observation(
            seq=place,
            time_s=place / 10,
            location=int(place >= 320),  # the tag comes two seconds late, the evidence does not
            location_posterior=None,
            location_evidence=np.eye(2)[here] * 0.98 + 0.01,
            grades=None,
            weight=1.0,
            findings={"polyp": "none" if here else "polyp"},
        )
        final += [segment for segment in segmenter.update(observation) if segment.state == "final"]
    final += [segment for segment in segmenter.finish(59.9) if segment.state == "final"]
    assert [(segment.location, segment.findings) for segment in final] == [
        ("rectum", {"polyp": {"polyp": 300}}),
        ("sigmoid", {"polyp": {"none": 300}}),
    ]


def test_a_head_that_abstains_is_counted_as_uncertain() -> None:
    careful = msgspec.structs.replace(FINDING, abstain_below=0.9)
    scores = {"finding": np.array([0.52, 0.48], np.float32)}
    assert said_of_frame([careful], scores, {}) == {"finding": "uncertain"}


def test_people_read_what_was_found_most_and_in_how_many_frames() -> None:
    segment = Script().segment(
        1,
        findings={
            "finding": {"polyp": 30, "ulcerative-colitis": 12, "uncertain": 50},
            "tool": {"none": 40, "snare": 2},
        },
    )
    assert findings_text(segment) == "polyp in 30 of 92, snare in 2 of 42"
    assert most_found(inside(segment)) == ("polyp", 30, 92)


@pytest.mark.parametrize(
    "segment",
    [
        Script().segment(1, findings={"polyp": {"none": 9}, "finding": {"uncertain": 9}}),
        Script().segment(1, location="outside", findings={"polyp": {"polyp": 9}}),
    ],
    ids=["nothing", "outside"],
)
def test_nothing_found_and_nothing_found_in_the_body_are_no_text(segment: SegmentMessage) -> None:
    assert findings_text(segment) == ""
    assert most_found(inside(segment)) is None


def test_a_procedure_adds_up_what_its_segments_found_inside_the_body() -> None:
    segments = [
        Script().segment(1, findings={"polyp": {"polyp": 3, "none": 4}}),
        Script().segment(2, location="outside", findings={"polyp": {"polyp": 50}}),
        Script().segment(3, findings={"polyp": {"polyp": 2}, "tool": {"snare": 1}}),
    ]
    assert conclude_procedure(segments).findings == {"polyp": {"polyp": 5, "none": 4}, "tool": {"snare": 1}}
    assert summed([]) == {}


def test_tables_hold_every_count() -> None:
    findings = {"polyp": {"polyp": 20, "none": 39}, "finding": {"polyp": 30}}
    assert findings_cell(findings) == "finding=polyp:30;polyp=none:39;polyp=polyp:20"
    table = segments_csv([Script().segment(1, findings=findings)])
    assert table.splitlines()[1].split(",")[
        table.splitlines()[0].split(",").index("findings")
    ] == findings_cell(findings)


def test_a_chapter_names_the_finding_where_there_is_no_place() -> None:
    found = Script().segment(
        1, location=None, mes_dominant=None, mes_worst=None, findings={"finding": {"polyp": 30}}
    )
    assert chapter_title(found) == "polyp in 30 of 30"
