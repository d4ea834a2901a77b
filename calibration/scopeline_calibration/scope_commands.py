"""`scopeline calibrate scope`. Thin: work is imported late."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scopeline.errors import ConfigError
from scopeline.shipped import shipped_scopes


def calibrate_scope(
    clip: Annotated[
        Path,
        typer.Argument(help="A recording of the processor: half a minute with the light on, one setting."),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            help="File name of the profile, without .toml; the clip's own when left out.", show_default=False
        ),
    ] = None,
    title: Annotated[
        str | None,
        typer.Option(
            help="What a person calls this processor and setting; never a patient.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write the profile here instead of among those that ship.", show_default=False
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Write the picture here; NAME.png in the current folder when left out.", show_default=False
        ),
    ] = None,
    longest_s: Annotated[float, typer.Option("--seconds", help="Look at so much of the clip.", min=1)] = 60.0,
) -> None:
    """Fit a scope profile to a clip: field of view, overlays, and where the processor writes.

    The field is found in what was bright anywhere in the clip; beginning, middle and end must agree, and light must end
    sharply at the rim, or the clip is refused with the reason. Text is what stays the same and bright. The picture
    shows a frame with all of it drawn in, and the rim enlarged: look at it before you trust the profile. The profile
    holds numbers only; the picture shows the clip, so it is not written beside the profile.

    The engine takes a profile by itself where `[field] profile = "auto"` and it agrees with what is found, or always
    where a pipeline names it.
    """
    from scopeline.replace_file import cannot_write, replace_file
    from scopeline_calibration.clip_looks import look_at_clip
    from scopeline_calibration.profile_file import profile_text
    from scopeline_calibration.scope_fit import fit_scope
    from scopeline_calibration.scope_picture import draw_scope

    chosen = name or clip.stem
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", chosen):
        raise ConfigError(
            f"--name must be letters, digits, dots and dashes, as it becomes a file name; got {chosen!r}"
        )
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"watching {clip.name}", total=longest_s)
        looks = look_at_clip(
            clip, longest_s=longest_s, done=lambda at_s: progress.update(task, completed=at_s)
        )
    fit = fit_scope(looks, title=title or chosen)
    remarks = [
        "Fitted by `scopeline calibrate scope` and looked at as a picture. Pixels of `signal`.",
        f"{fit.pictures} pictures; thirds of the clip agree to IoU "
        f"{min(fit.thirds_iou, default=1.0):.3f}; light ends sharply along {fit.sharp_rim:.0%} of the rim.",
    ]
    if not fit.field_moved:
        remarks.append("The picture hardly moved: text within the field was not looked for.")
    file = out or shipped_scopes() / f"{chosen}.toml"
    drawing = picture or Path(f"{chosen}.png")
    _write_picture(drawing, draw_scope(looks, fit))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(file.parent, error) from error
    replace_file(file, profile_text(fit.profile, remarks).encode())
    text = sum(overlay.kind == "text" for overlay in fit.profile.overlays)
    console.print(
        f"{fit.profile.shape.value} {list(fit.profile.box)} of {looks.signal[0]}x{looks.signal[1]}, "
        f"{len(fit.profile.overlays) - text} overlays, {text} text areas, from {fit.pictures} pictures",
        highlight=False,
    )
    for remark in remarks[1:]:
        console.print(remark, highlight=False)
    console.print(f"profile: {file}\npicture: {drawing}  (look at it)", highlight=False, soft_wrap=True)


def _write_picture(path: Path, pixels: object) -> None:
    import cv2
    import numpy as np

    from scopeline.replace_file import cannot_write, replace_file

    done, png = cv2.imencode(".png", np.asarray(pixels)[..., ::-1])
    if not done:
        raise ConfigError(f"{path}: the picture could not be encoded as PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    replace_file(path, png.tobytes())
