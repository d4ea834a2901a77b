"""A pipeline file with another `[smoothing.HEAD]`: everything else in it stays as it was, comments included."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from scopeline.bundle import Head, load_bundle
from scopeline.config import Pipeline, load_pipeline
from scopeline.errors import ConfigError
from scopeline.replace_file import replace_file
from scopeline.smoothing import GRADE_SMOOTHING, LOCATION_SMOOTHING, SmoothingSettings

_TABLE = re.compile(r"^\s*\[")


def head_of(pipeline: Pipeline, name: str) -> Head:
    """The head of that name in the pipeline's bundles.

    Raises:
        ConfigError: there is none, or it is not smoothed.
        BundleError: a bundle is damaged.
    """
    heads = [head for choice in pipeline.bundles for head in load_bundle(pipeline.bundle_path(choice)).heads]
    smoothed = [head for head in heads if head.role not in ("quality", "mask")]
    for head in smoothed:
        if head.name == name:
            return head
    raise ConfigError(
        f"pipeline {pipeline.name!r} smooths {[head.name for head in smoothed]}, got --head {name!r}; name one of these"
    )


def write_smoothing(path: Path, head: str, settings: SmoothingSettings, remark: str) -> None:
    """Put the settings into a pipeline file, in place of a section that is there already.

    The file is read back before it takes the old one's place.

    Raises:
        ConfigError: the file is no pipeline, or writes its smoothing in a way that cannot be replaced line by line.
        SinkError: it cannot be written.
    """
    load_pipeline(path)
    text = with_smoothing(path.read_text(encoding="utf-8"), head, settings, remark)
    try:
        read = msgspec.toml.decode(text, type=Pipeline).smoothing.get(head)
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"{path}: [smoothing.{head}] could not be written ({error}); write it as a table of its own, as "
            f"[smoothing.{head}] on a line by itself"
        ) from error
    if read != settings:
        raise ConfigError(
            f"{path}: [smoothing.{head}] did not read back as written; remove the old one by hand"
        )
    replace_file(path, text.encode())


def with_smoothing(text: str, head: str, settings: SmoothingSettings, remark: str) -> str:
    """The text of a pipeline file with that section in place of the old one, or at its end."""
    section = _section(head, settings, remark)
    lines = text.splitlines()
    header = re.compile(rf"""^\s*\[\s*smoothing\s*\.\s*["']?{re.escape(head)}["']?\s*\]""")
    start = next((at for at, line in enumerate(lines) if header.match(line)), None)
    if start is None:
        return "\n".join([*lines, "", *section]) + "\n"
    stop = next((at for at in range(start + 1, len(lines)) if _TABLE.match(lines[at])), len(lines))
    # Comments and empty lines right before the next table are that table's.
    while stop > start + 1 and (not lines[stop - 1].strip() or lines[stop - 1].lstrip().startswith("#")):
        stop -= 1
    if start and lines[start - 1].startswith("# scopeline calibrate smoothing:"):
        start -= 1
    return "\n".join([*lines[:start], *section, *lines[stop:]]) + "\n"


def _section(head: str, settings: SmoothingSettings, remark: str) -> list[str]:
    """Only what differs from the plain defaults of `SmoothingSettings`, and never nothing."""
    plain = SmoothingSettings()
    values = {
        field.name: getattr(settings, field.name)
        for field in msgspec.structs.fields(SmoothingSettings)
        if field.name in ("method", "confirm_s")
        or getattr(settings, field.name) != getattr(plain, field.name)
    }
    keys = [
        f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
        for name, value in values.items()
    ]
    return [f"# scopeline calibrate smoothing: {remark}", f"[smoothing.{head}]", *keys]


def default_for(role: str) -> SmoothingSettings:
    """What the engine takes for a head of that role when its pipeline says nothing."""
    return GRADE_SMOOTHING if role == "grade" else LOCATION_SMOOTHING
