"""Culprits: the few layers whose low precision makes a network fail, found by keeping groups of layers in FP32."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def find_culprits(layers: Sequence[str], passes: Callable[[frozenset[str]], bool]) -> tuple[str, ...] | None:
    """A small set of layers that have to be kept in FP32 so that the gate passes.

    Halves are kept in turn while the other half is searched, with what was found so far kept as well (interference
    search of Zeller 1999, "Yesterday, my program worked. Today, it does not. Why?"). About 2 k log2(n / k) trials for k
    culprits among n layers. None of those found can be left out, as long as keeping more layers never makes things
    worse; the set need not be the smallest there is.

    Args:
        layers: Names, in the order of the network, so that neighbours are tried together.
        passes: Whether the gate passes with these layers in FP32.

    Returns:
        The layers in the order of the network; none when the gate passes as it is; None when it fails even with every
        layer kept, so that the fault lies elsewhere.
    """
    if passes(frozenset()):
        return ()
    if not layers or not passes(frozenset(layers)):
        return None
    found = _search(list(layers), frozenset(), passes)
    return tuple(layer for layer in layers if layer in found)


def _search(
    layers: list[str], kept: frozenset[str], passes: Callable[[frozenset[str]], bool]
) -> frozenset[str]:
    """The members of `layers` that are needed beside `kept`. Known: it passes with both and fails with `kept` alone."""
    if len(layers) == 1:
        return frozenset(layers)
    first, second = layers[: len(layers) // 2], layers[len(layers) // 2 :]
    if passes(kept | set(first)):
        return _search(first, kept, passes)
    if passes(kept | set(second)):
        return _search(second, kept, passes)
    of_second = _search(second, kept | set(first), passes)
    return of_second | _search(first, kept | of_second, passes)
