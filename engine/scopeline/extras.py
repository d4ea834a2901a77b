"""Extras: packages that Scopeline can do without, and how to get them."""

from __future__ import annotations


def how_to_install(extra: str) -> str:
    """The words for an error about a missing package: a command that leaves the installed versions as they are."""
    return f'in the checkout, pip install -c constraints.txt -e ".[{extra}]"'
