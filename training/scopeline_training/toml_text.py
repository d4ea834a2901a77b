"""TOML text: plain values as TOML that people can edit. The standard library only reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping


def toml_text(table: Mapping[str, object]) -> str:
    """A table of strings, numbers, booleans, lists and tables as TOML. None is left out: TOML has no such value."""
    return "\n".join(_lines(table, "")).strip() + "\n"


def _lines(table: Mapping[str, object], name: str) -> list[str]:
    plain = {key: each for key, each in table.items() if each is not None and not _is_table(each)}
    lines = [f"{key} = {json.dumps(each, ensure_ascii=False)}" for key, each in plain.items()]
    for key, each in table.items():
        inner = f"{name}.{key}" if name else key
        if isinstance(each, Mapping):
            lines += ["", f"[{inner}]", *_lines(each, inner)]
        elif isinstance(each, list | tuple) and _is_table(each):
            for row in each:
                lines += ["", f"[[{inner}]]", *_lines(row, inner)]
    return lines


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(each, Mapping) for each in value)
    )
