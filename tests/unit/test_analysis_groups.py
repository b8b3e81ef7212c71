"""All stalls in the order of time, in as much memory as is allowed."""

from __future__ import annotations

from collections import Counter

from gilscope.analysis import analyse
from gilscope.analysis.stall_groups import StallGroups
from tests.made_capture import MadeCapture, stack


def test_stalls_are_kept_one_by_one_with_what_each_was_made_of() -> None:
    """More of them than are told one by one; their weights are those of all stalls together."""
    made = MadeCapture()
    encode = made.stack(stack("encode"))
    for number in range(80):
        made.convoy(100 * number, 4, stack=encode)
    analysis = analyse(made)
    assert [(group.since_start_ns, group.duration_ns, group.stalls) for group in analysis.stall_groups] == [
        (100_000_000 * number, 25_000_000, 1) for number in range(80)
    ]
    sums: Counter[int] = Counter()
    for group in analysis.stall_groups:
        sums.update(dict(group.weights))
    assert sums == {place: weighted.ns for place, weighted in enumerate(analysis.stall_stacks)}


def test_too_many_stalls_are_kept_as_neighbours_together() -> None:
    """In groups of one size, without a gap; no time is lost."""
    groups = StallGroups(most_weights=40)
    keys = [("on_cpu", 1, stack) for stack in range(4)]
    for number in range(101):
        groups.add(100 + 10 * number, 105 + 10 * number, {keys[number % 4]: 5, keys[0]: 1})
    told = groups.told({key: place for place, key in enumerate(keys)}, 100)
    assert 2 < len(told) <= 12
    assert {group.stalls for group in told[:-1]} == {max(group.stalls for group in told)}
    assert sum(group.stalls for group in told) == 101
    ends = [group.since_start_ns + group.duration_ns for group in told]
    assert [group.since_start_ns for group in told] == [0, *(end + 5 for end in ends[:-1])]
    # One in four has both under the same key, and the last one of a dict counts.
    assert sum(ns for group in told for _, ns in group.weights) == 26 * 1 + 75 * 6
