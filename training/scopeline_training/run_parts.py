"""Run parts: from a catalogue to who is trained on, who decides, and who is tested. No group is ever on two sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scopeline.errors import ConfigError
from scopeline_training.catalogue import Catalogue
from scopeline_training.experiment import Experiment, SplitPlan
from scopeline_training.splitting import Parts, crossing, folds, given_parts, three_way
from scopeline_training.variants import VariantPlan, vary_parts

Numbers = NDArray[np.int64]

VAL_FOLDS = 7
"""A validation part is a seventh of what is left for training where the data set or the folds name none."""


@dataclass(frozen=True, slots=True)
class PartedRun:
    """The parts of one fit, and what had to be said about them."""

    parts: Parts
    notes: tuple[str, ...] = ()


def parted(catalogue: Catalogue, groups: Numbers, plan: SplitPlan, *, seed: int) -> Iterator[PartedRun]:
    """One set of parts, or one per fold.

    Raises:
        ConfigError: too few groups, the split that was asked for is not there, or `only_trained` names no label.
    """
    always = _always_trained(catalogue, plan)
    if not len(always):
        yield from _parted(catalogue, groups, plan, seed)
        return
    free = np.setdiff1d(np.arange(len(catalogue)), always)
    if np.intersect1d(groups[free], groups[always]).size:
        raise ConfigError(
            f"split.only_trained: pictures of {', '.join(plan.only_trained)} share a group with others"
        )
    note = (
        f"{len(always)} pictures of {', '.join(plan.only_trained)} are always trained on and never tested (their "
        "recordings are too few): no figure says how well that label is told, only how often it is said wrongly."
    )
    for each in _parted(catalogue.take(free), groups[free], plan, seed):
        parts = each.parts
        train = np.sort(np.concatenate([free[parts.train], always]))
        yield PartedRun(Parts(train, free[parts.val], free[parts.test]), (*each.notes, note))


def _always_trained(catalogue: Catalogue, plan: SplitPlan) -> Numbers:
    """Numbers of the pictures of `only_trained`."""
    head = plan.head or next(iter(catalogue.classes), "")
    names = catalogue.classes.get(head, ())
    unknown = set(plan.only_trained) - set(names)
    if unknown:
        raise ConfigError(
            f"split.only_trained: wanted labels of {head or 'a head'} ({', '.join(names) or 'it has none'}), "
            f"got {', '.join(sorted(unknown))}"
        )
    chosen = [names.index(label) for label in plan.only_trained]
    return np.flatnonzero(np.isin(strata(catalogue, head or None), chosen)).astype(np.int64)


def _parted(catalogue: Catalogue, groups: Numbers, plan: SplitPlan, seed: int) -> Iterator[PartedRun]:
    labels = strata(catalogue, plan.head)
    if plan.kind == "folds":
        for train, test in folds(labels, groups, plan.k, seed):
            yield PartedRun(_with_val(labels, groups, train, test, seed))
        return
    given = given_parts(catalogue) if plan.kind != "three_way" else None
    if given is None:
        if plan.kind == "given":
            raise ConfigError(f"{catalogue.description}: wanted the data set's own split, it has none")
        yield PartedRun(_three_way(catalogue, labels, groups, plan, seed))
        return
    yield _kept_apart(given, labels, groups, seed)


def strata(catalogue: Catalogue, head: str | None) -> Numbers:
    """(N,) what is shared out evenly: a head's labels; all alike for a data set of masks."""
    head = head or next(iter(catalogue.classes), None)
    return np.zeros(len(catalogue), np.int64) if head is None else catalogue.labels_of(head)


def with_groups(catalogue: Catalogue, groups: Numbers) -> Catalogue:
    """The catalogue with group numbers in place of patients, so that they survive whatever is done to it."""
    samples = tuple(
        replace(sample, group=str(group)) for sample, group in zip(catalogue.samples, groups, strict=True)
    )
    return replace(catalogue, samples=samples)


def groups_in(catalogue: Catalogue) -> Numbers:
    """(N,) numbers that `with_groups` put there."""
    return np.array([int(sample.group or -1) for sample in catalogue.samples], np.int64)


def limited(catalogue: Catalogue, most: int, *, head: str | None, seed: int) -> Catalogue:
    """At most so many pictures of each label in each given part, drawn with the seed."""
    labels = strata(catalogue, head)
    parts = np.array([sample.split or "" for sample in catalogue.samples])
    rng = np.random.default_rng((seed, 31))
    kept = [
        rng.permutation(np.flatnonzero((labels == label) & (parts == part)))[:most]
        for label in np.unique(labels)
        for part in np.unique(parts)
    ]
    return catalogue.take(np.sort(np.concatenate(kept)).astype(np.int64))


def varied_parts(
    catalogue: Catalogue, parts: Parts, experiment: Experiment
) -> dict[str, tuple[Catalogue, str]]:
    """Part -> its pictures and crop, as the recipe's variant has them.

    Args:
        catalogue: From `with_groups`.
    """
    head = experiment.split.head or next(iter(catalogue.classes), "")
    varied = vary_parts(
        catalogue, parts, experiment.variant or VariantPlan(),
        head=head, crop=experiment.input.crop, seed=experiment.seed,
    )  # fmt: skip
    return {name: (each.catalogue, each.crop) for name, each in varied.items()}


def _three_way(catalogue: Catalogue, labels: Numbers, groups: Numbers, plan: SplitPlan, seed: int) -> Parts:
    """Three parts. Clear pictures are dealt out after the others, so that figures with and without them are of the same
    test pictures; those that look like another picture go where it went."""
    clear = np.array([sample.is_clear for sample in catalogue.samples])
    if not clear.any() or clear.all():
        return three_way(labels, groups, seed, plan.shares)
    marked = np.flatnonzero(~clear)
    dealt = [
        marked[part] for part in three_way(labels[marked], groups[marked], seed, plan.shares).named().values()
    ]
    alone = np.flatnonzero(clear & ~np.isin(groups, groups[marked]))
    others = [
        alone[part] for part in three_way(labels[alone], groups[alone], seed, plan.shares).named().values()
    ]
    alike = [np.flatnonzero(clear & np.isin(groups, groups[part])) for part in dealt]
    return Parts(*(np.sort(np.concatenate(each)) for each in zip(dealt, others, alike, strict=True)))


def _with_val(labels: Numbers, groups: Numbers, train: Numbers, test: Numbers, seed: int) -> Parts:
    rarest = int(np.unique(labels[train], return_counts=True)[1].min())
    k = max(2, min(VAL_FOLDS, rarest, len(np.unique(groups[train]))))
    rest, val = folds(labels[train], groups[train], k, seed)[0]
    return Parts(train[rest], train[val], test)


def _kept_apart(given: Parts, labels: Numbers, groups: Numbers, seed: int) -> PartedRun:
    """The data set's own split without the pictures that would leak from one part into another."""
    val = _outside(given.val, [given.test], groups)
    train = _outside(given.train, [val, given.test], groups)
    lost = len(given.val) + len(given.train) - len(val) - len(train)
    notes = []
    if lost:
        count = len(crossing([given.train, given.val, given.test], groups))
        notes.append(
            f"{lost} pictures were left out of training and validation: {count} patients or look-alike clusters lie "
            "on two sides of the data set's own split."
        )
    if not len(val):
        notes.append("The data set has no validation part: a seventh of its training part serves as one.")
        return PartedRun(_with_val(labels, groups, train, given.test, seed), tuple(notes))
    return PartedRun(Parts(train, val, given.test), tuple(notes))


def _outside(numbers: Numbers, others: Sequence[Numbers], groups: Numbers) -> Numbers:
    taken = np.concatenate([groups[other] for other in others])
    return numbers[~np.isin(groups[numbers], taken)]
