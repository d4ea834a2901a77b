"""Segments from planted observations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from scopeline.marks import Mark
from scopeline.segment_tally import MOST_BLOCKS
from scopeline.segments import Observation, Segment, Segmenter, SegmentSettings

PLACES = ("rectum", "sigmoid", "descending", "outside")
GRADES = 4


class Story:
    """Plays frames at a steady rate into a segmenter and keeps what it says."""

    def __init__(
        self, *, fps: float = 10.0, places: tuple[str, ...] = PLACES, settings: SegmentSettings | None = None
    ) -> None:
        self.segmenter = Segmenter(settings or SegmentSettings(), places, GRADES)
        self.fps, self.places, self.seq, self.messages = fps, places, 0, list[Segment]()

    @property
    def now_s(self) -> float:
        return self.seq / self.fps

    def show(
        self,
        seconds: float,
        tag: str | None,
        *,
        truth: str | None = None,
        grade: int = 0,
        weight: float = 0.9,
        reason: str | None = None,
    ) -> Story:
        """Frames tagged `tag`, whose own evidence says `truth`."""
        for _ in range(round(seconds * self.fps)):
            location = None if tag is None else self.places.index(tag)
            evidence = None if tag is None else one_hot(self.places.index(truth or tag), len(self.places))
            self.messages += self.segmenter.update(
                Observation(
                    self.seq,
                    self.now_s,
                    location,
                    None if reason else evidence,
                    None if reason else one_hot(grade, GRADES),
                    weight,
                    reason,
                )
            )
            self.seq += 1
        return self

    def skip(self, seconds: float) -> Story:
        self.seq += round(seconds * self.fps)
        return self

    def mark(self, kind: str, label: str | None = None, *, late_s: float = 0.0) -> Story:
        self.messages += self.segmenter.mark(Mark(self.now_s - late_s, kind, label))  # type: ignore[arg-type]
        return self

    def end(self) -> list[Segment]:
        self.messages += self.segmenter.finish(self.now_s)
        return [message for message in self.messages if message.state == "final"]


def one_hot(index: int, count: int, sure: float = 0.9) -> np.ndarray:
    values = np.full(count, (1 - sure) / (count - 1))
    values[index] = sure
    return values


def outline(segments: Sequence[Segment]) -> list[tuple[str | None, float, float]]:
    return [(item.location, round(item.start_s, 3), round(item.end_s, 3)) for item in segments]


def test_each_lasting_tag_becomes_a_segment() -> None:
    story = Story().show(20, "rectum").show(30, "sigmoid").show(10, "descending")
    assert outline(story.end()) == [("rectum", 0, 20), ("sigmoid", 20, 50), ("descending", 50, 60)]


def test_a_late_tag_does_not_make_a_late_boundary() -> None:
    story = Story().show(20, "rectum").show(4, "rectum", truth="sigmoid").show(20, "sigmoid")
    assert outline(story.end()) == [("rectum", 0, 20), ("sigmoid", 20, 44)]


def test_a_short_run_is_merged_into_its_neighbours() -> None:
    story = Story().show(20, "rectum").show(3, "sigmoid").show(20, "rectum")
    assert outline(story.end()) == [("rectum", 0, 43)]
    assert story.messages[-1].frames_seen == 430


def test_a_short_run_between_two_places_goes_to_the_better_supported_one() -> None:
    story = Story().show(20, "rectum").show(3, "descending", truth="sigmoid").show(20, "sigmoid")
    assert outline(story.end()) == [("rectum", 0, 20), ("sigmoid", 20, 43)]


def test_a_short_run_at_the_very_start_belongs_to_what_follows() -> None:
    story = Story().show(3, "sigmoid").show(20, "rectum")
    assert outline(story.end()) == [("rectum", 0, 23)]
    assert story.messages[-1].frames_seen == 230


def test_frames_before_the_first_tag_belong_to_the_first_segment() -> None:
    story = Story().show(4, None).show(20, "rectum")
    assert outline(story.end()) == [("rectum", 0, 24)]


def test_a_short_stay_outside_does_not_split_and_a_long_one_does() -> None:
    short = Story().show(20, "rectum").show(4, "outside").show(20, "rectum")
    assert outline(short.end()) == [("rectum", 0, 44)]
    long = Story().show(20, "rectum").show(8, "outside").show(20, "rectum")
    assert outline(long.end()) == [("rectum", 0, 20), ("outside", 20, 28), ("rectum", 28, 48)]


def test_outside_has_no_grade_and_no_key_frame() -> None:
    (segment,) = Story().show(30, "outside", grade=3).end()
    assert (segment.assessable, segment.mes_dominant, segment.key_frame) == (False, None, None)


def test_a_gap_in_the_stream_splits() -> None:
    story = Story().show(20, "rectum").skip(11).show(20, "rectum")
    assert outline(story.end()) == [("rectum", 0, 19.9), ("rectum", 31, 51)]
    short = Story().show(20, "rectum").skip(9).show(20, "rectum")
    assert outline(short.end()) == [("rectum", 0, 49)]


def test_a_long_stretch_without_a_tag_is_no_location() -> None:
    story = Story().show(20, "rectum").show(15, None, reason="blurred").show(20, "sigmoid")
    assert [item.location for item in story.end()] == ["rectum", None, "sigmoid"]


def test_frames_are_accounted_for() -> None:
    story = Story().show(20, "rectum").show(2, "rectum", reason="blurred").show(3, "rectum", weight=0.2)
    (segment,) = story.show(20, "rectum").end()
    assert (segment.frames_seen, segment.frames_usable) == (450, 400)
    assert segment.reasons == {"blurred": 20, "unscorable": 30}
    assert segment.informative_s == pytest.approx(39.9)
    assert sum(segment.histogram) == 400


def test_too_little_to_see_is_not_assessable() -> None:
    (segment,) = Story().show(30, "rectum", reason="dark").show(4, "rectum", grade=2).end()
    assert not segment.assessable
    assert (segment.mes_dominant, segment.mes_worst, segment.expected) == (None, None, None)
    assert segment.state == "final"


def test_enough_frames_in_too_short_a_time_are_not_assessable() -> None:
    (segment,) = Story(fps=50.0).show(4, "rectum", grade=2).end()
    assert segment.frames_usable == 200
    assert not segment.assessable


def test_the_dominant_grade_is_the_one_of_most_frames_and_the_worst_one_that_lasts() -> None:
    story = Story().show(40, "rectum", grade=1).show(4, "rectum", grade=3).show(20, "rectum", grade=1)
    (segment,) = story.end()
    assert (segment.mes_dominant, segment.mes_worst) == (1, 3)
    assert segment.histogram == (0, 600, 0, 40)


def test_a_glint_is_not_the_worst_grade() -> None:
    story = Story().show(40, "rectum", grade=1).show(1, "rectum", grade=3).show(20, "rectum", grade=1)
    assert story.end()[0].mes_worst == 1


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0])
def test_the_worst_grade_does_not_depend_on_the_frame_rate(fps: float) -> None:
    story = Story(fps=fps).show(40, "rectum").show(4, "rectum", grade=2).show(20, "rectum")
    assert story.end()[0].mes_worst == 2


def test_a_window_that_is_mostly_unusable_proves_nothing() -> None:
    story = Story().show(40, "rectum")
    for _ in range(8):
        story.show(0.7, "rectum", reason="blurred").show(0.3, "rectum", grade=3)
    assert story.show(20, "rectum").end()[0].mes_worst == 0


def test_frames_that_look_like_another_place_do_not_decide_the_worst_grade() -> None:
    story = Story().show(40, "rectum", grade=0)
    for _ in range(40):
        # The tag holds, but the posterior is with the neighbour.
        seq, time_s = story.seq, story.now_s
        elsewhere = one_hot(PLACES.index("sigmoid"), len(PLACES))
        story.messages += story.segmenter.update(
            Observation(seq, time_s, PLACES.index("rectum"), elsewhere, one_hot(3, GRADES), 0.9)
        )
        story.seq += 1
    assert story.show(40, "rectum", grade=0).end()[0].mes_worst == 0


def test_the_operators_place_counts_whatever_the_model_thinks() -> None:
    story = Story().mark("segment", "sigmoid").show(40, "rectum", grade=0)
    (segment,) = story.show(10, "rectum", grade=3).show(30, "rectum", grade=0).end()
    assert (segment.location, segment.mes_worst) == ("sigmoid", 3)
    assert segment.key_frame is not None


def test_the_key_frame_is_the_best_of_the_dominant_grade() -> None:
    story = Story().show(20, "rectum", grade=1, weight=0.8).show(0.1, "rectum", grade=1, weight=1.0)
    (segment,) = story.show(2, "rectum", grade=3, weight=1.0).show(20, "rectum", grade=1, weight=0.8).end()
    assert segment.key_frame == 200
    assert segment.key_frame_s == pytest.approx(20.0)


def test_confidence_is_high_where_all_agree_and_low_where_half_do() -> None:
    (agreed,) = Story().show(60, "rectum", grade=2).end()
    assert agreed.confidence == agreed.grade_confidence == 1.0
    torn = Story()
    for _ in range(15):
        torn.show(2, "rectum", grade=1).show(2, "rectum", grade=2)
    (segment,) = torn.end()
    assert segment.grade_confidence is not None
    assert 0.2 < segment.grade_confidence < 0.8


def test_a_running_segment_is_published_once_a_second_after_it_has_lasted() -> None:
    story = Story().show(20, "rectum")
    assert [round(item.end_s, 3) for item in story.messages] == [float(second) for second in range(5, 20)]
    assert {item.state for item in story.messages} == {"provisional"}
    assert story.segmenter.current is story.messages[-1]


def test_a_new_tag_is_not_published_before_it_has_lasted() -> None:
    story = Story().show(20, "rectum").show(4, "sigmoid")
    assert {item.location for item in story.messages} == {"rectum"}
    story.show(3, "sigmoid")
    states = [(item.number, item.state) for item in story.messages if item.end_s >= 20]
    assert (1, "final") in states
    assert (2, "provisional") in states


def test_numbers_are_stable_and_segments_do_not_overlap() -> None:
    rng = np.random.default_rng(5)
    story = Story()
    for _ in range(60):
        story.show(float(rng.uniform(0.5, 12)), str(rng.choice(PLACES)))
    final = story.end()
    assert [item.number for item in final] == list(range(1, len(final) + 1))
    assert all(one.end_s <= other.start_s for one, other in pairwise(final))
    assert sum(item.frames_seen for item in final) == story.seq


def test_equal_observations_give_equal_segments() -> None:
    def once() -> list[Segment]:
        rng = np.random.default_rng(11)
        story = Story()
        for _ in range(20):
            story.show(float(rng.uniform(1, 15)), str(rng.choice(PLACES)), grade=int(rng.integers(4)))
        story.end()
        return story.messages

    assert once() == once()


def test_the_tally_of_a_long_segment_stays_small() -> None:
    story = Story(fps=1.0)
    story.show(3 * MOST_BLOCKS, "rectum", grade=2)
    tally = story.segmenter._open.all  # type: ignore[union-attr]
    assert len(tally._blocks) <= MOST_BLOCKS
    (segment,) = story.end()
    assert (segment.grade_confidence, segment.frames_usable) == (1.0, 3 * MOST_BLOCKS)


def test_without_a_location_head_there_is_one_segment() -> None:
    (segment,) = Story(places=()).show(60, None, grade=2).end()
    assert (segment.location, segment.mes_dominant, segment.confidence) == (None, 2, None)


def test_a_segment_mark_overrides_the_model_until_it_ends() -> None:
    story = Story().show(10, "rectum").mark("segment", "sigmoid").show(20, "rectum").mark("end")
    final = story.show(10, "rectum").end()
    assert outline(final) == [("rectum", 0, 10), ("sigmoid", 10, 30), ("rectum", 30, 40)]
    assert [item.marked for item in final] == [False, True, False]
    assert final[1].confidence is None


def test_a_mark_may_name_a_place_that_the_model_does_not_know() -> None:
    story = Story(places=()).mark("segment", "pouch").show(20, None, grade=1).mark("segment", "ileum")
    final = story.show(20, None, grade=2).end()
    assert [(item.location, item.mes_dominant) for item in final] == [("pouch", 1), ("ileum", 2)]


def test_a_mark_that_comes_late_takes_effect_at_its_own_time() -> None:
    story = Story().show(12, "rectum").mark("segment", "sigmoid", late_s=2.0).show(20, "rectum")
    final = story.end()
    assert outline(final) == [("rectum", 0, 10), ("sigmoid", 10, 32)]
    assert [item.frames_seen for item in final] == [100, 220]


def test_ignored_frames_do_not_count() -> None:
    story = Story().show(20, "rectum", grade=1).mark("ignore").show(20, "rectum", grade=3).mark("end")
    (segment,) = story.show(20, "rectum", grade=1).end()
    assert (segment.mes_dominant, segment.mes_worst, segment.frames_usable) == (1, 1, 400)
    assert segment.reasons == {"ignored": 200}


def test_the_end_of_ignoring_does_not_end_the_marked_segment() -> None:
    story = Story().mark("segment", "sigmoid").show(10, "rectum").mark("ignore").show(5, "rectum")
    final = story.mark("end").show(10, "rectum").end()
    assert outline(final) == [("sigmoid", 0, 25)]


def test_time_must_not_fall() -> None:
    story = Story().show(1, "rectum")
    story.seq = 3
    with pytest.raises(ValueError, match="must not fall"):
        story.show(1, "rectum")


def test_a_short_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="recent_s must exceed"):
        SegmentSettings(recent_s=4.0)


def test_a_stretch_of_unknown_place_is_not_assessable_however_much_was_graded() -> None:
    story = Story().show(30, None, grade=3)
    [segment] = [each for each in story.segmenter.finish(story.now_s) if each.state == "final"]
    assert segment.location is None
    assert segment.frames_usable == 300
    assert not segment.assessable
    assert segment.mes_worst is None
