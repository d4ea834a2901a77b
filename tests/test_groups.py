from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeline.groups import in_groups


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_every_item_is_in_one_group_and_only_the_last_group_may_be_smaller(
    items: list[int], size: int
) -> None:
    groups = list(in_groups(items, size))
    assert [item for group in groups for item in group] == items
    assert all(len(group) == size for group in groups[:-1])
    assert all(1 <= len(group) <= size for group in groups[-1:])


def test_what_came_for_a_group_that_a_failure_left_unfinished_is_told() -> None:
    def fail_after(count: int) -> Iterator[int]:
        yield from range(count)
        raise OSError("unplugged")

    lost: list[int] = []
    with pytest.raises(OSError, match="unplugged"):
        for _ in in_groups(fail_after(6), 4, left_over=lost.append):
            pass
    assert lost == [2]


def test_a_group_that_was_handed_over_is_no_longer_counted() -> None:
    lost: list[int] = []
    with closing(in_groups(range(9), 4, left_over=lost.append)) as groups:
        assert next(groups) == [0, 1, 2, 3]
    assert lost == []
