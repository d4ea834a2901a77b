"""Explain: why does a model say what it says, for pictures and for the key frames of a recording's segments.

A run of `scopeline train` or one of its checkpoints has its network in torch and is explained by gradients. A bundle
is a graph for a runtime and has none: it is explained by occlusion, under that name.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from scopeline.backends import open_backend
from scopeline.batch import read_summary
from scopeline.bundle import Bundle, Head, Input, load_bundle
from scopeline.config import QualityRule
from scopeline.contact_sheet import cut_to_field
from scopeline.crop import View
from scopeline.errors import ConfigError
from scopeline.extras import how_to_install
from scopeline.field_estimator import field_of_still
from scopeline.picture import Picture, Pixels, picture_from_file, picture_from_rgb, rgb_pixels
from scopeline.ports import Backend
from scopeline.prediction import Probabilities
from scopeline.replace_file import replace_file
from scopeline.results_folder import SEGMENTS
from scopeline.shipped import shipped_pipelines
from scopeline.sources.key_frames import key_frames
from scopeline.tally import OUTSIDE
from scopeline_training.explanation import Explainer, Explanation, LookMap, Method, Question, question_of
from scopeline_training.occlusion import occlusion_map
from scopeline_training.seeing import whole_field

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of an explanation; everything left out is chosen."""

    head: str | None = None
    label: str | None = None
    methods: tuple[Method, ...] = ()
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture to explain."""

    name: str
    """For the file and the title."""
    picture: Picture


class BundleExplainer:
    """Explains a bundle by occlusion, in ONNX Runtime. Needs no torch.

    Args:
        bundle: The model.

    Raises:
        BackendError: the runtime refuses the network.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.heads, self.input = bundle.heads, bundle.input
        self._backend: Backend = open_backend("onnxruntime", bundle, threads=1, precision="fp32")

    def answers(self, pixels: Pixels) -> dict[str, Probabilities]:
        """Probabilities by head with labels."""
        logits = self._backend.infer(pixels[None])
        return {
            head.name: head.probabilities(logits[head.name][0]) for head in self.heads if head.role != "mask"
        }

    def maps(
        self, pixels: Pixels, question: Question, methods: Sequence[Method], layers: Sequence[str]
    ) -> tuple[tuple[LookMap, ...], str]:
        """The map, and nothing to remark.

        Raises:
            ConfigError: a method, layer or head that occlusion cannot serve.
        """
        for method in methods:
            if method is not Method.OCCLUSION:
                raise ConfigError(
                    f"{method.words} needs gradients, which a bundle (a graph in ONNX) has not; explain the folder of "
                    "the `scopeline train` run instead, or ask for occlusion"
                )
        if layers:
            raise ConfigError(
                "layers are for Grad-CAM; a bundle is explained by occlusion, which looks at none"
            )
        if question.head.role == "mask":
            raise ConfigError(
                f"head {question.head.name!r} is a mask and shows by itself where; explain "
                f"{', '.join(head.name for head in self.heads if head.role != 'mask') or 'another model'}"
            )
        return (LookMap(Method.OCCLUSION, None, occlusion_map(self._backend, pixels, question)),), ""

    def close(self) -> None:
        """Close the network."""
        self._backend.close()


def open_explainer(model: Path) -> Explainer:
    """An explainer for a bundle's folder, the name of a bundle that ships, a run's folder or a checkpoint in it.

    Raises:
        ConfigError: there is nothing of the kind.
        BundleError: the bundle is damaged.
    """
    if model.suffix == ".ckpt" or ((model / "recipe.toml").is_file() and (model / "fits").is_dir()):
        return _explainer_of_run(model)
    shipped = shipped_pipelines() / "bundles" / model
    folder = model if model.is_dir() or not shipped.is_dir() else shipped
    return BundleExplainer(load_bundle(folder))


def explain_picture(explainer: Explainer, picture: Picture, wish: Wish) -> tuple[Explanation, str]:
    """Explains one picture; also returns what must be remarked.

    Raises:
        ConfigError: the wish does not suit the model.
    """
    pixels = rgb_pixels(picture)
    field = field_of_still(pixels) or whole_field(picture.width, picture.height)
    wanted: Input = explainer.input
    shown = View(wanted.crop, wanted.width, wanted.height)(picture, field)
    answers = explainer.answers(shown)
    question = question_of(explainer.heads, answers, wish.head, wish.label)
    maps, of_maps = explainer.maps(shown, question, wish.methods, wish.layers)
    remark = " ".join(each for each in (of_maps, _of_quality(explainer.heads, answers, question)) if each)
    labels = {head.name: head.labels for head in explainer.heads if head.name in answers}
    return Explanation(question, shown, cut_to_field(pixels, field).pixels, answers, labels, maps), remark


def explain_all(
    model: Path,
    sources: Sequence[Path],
    out: Path,
    *,
    wish: Wish,
    segments: Path | None = None,
    say: Say = print,
) -> list[Path]:
    """Writes a panel as PNG for each picture, or for the key frame of each segment of one recording.

    Args:
        model: As for `open_explainer`.
        sources: Pictures; with `segments` one recording.
        out: Folder for the panels.
        wish: What to explain and how.
        segments: Results folder of `scopeline batch`, or its segments.csv.
        say: Hears a line per panel.

    Returns:
        The panels' files.

    Raises:
        ConfigError, BundleError, SourceError: model, wish, pictures or segments are wrong.
        SinkError: the folder cannot be written.
    """
    if find_spec("matplotlib") is None:
        raise ConfigError(f"panels are drawn with matplotlib: {how_to_install('training')}")
    from scopeline_training.explanation_panel import explanation_panel
    from scopeline_training.plot_style import png

    written: list[Path] = []
    shots = segment_shots(sources, segments, say) if segments else picture_shots(sources)
    with closing(open_explainer(model)) as explainer:
        for shot in shots:
            explanation, remark = explain_picture(explainer, shot.picture, wish)
            file = _free_name(out, shot.name, written)
            out.mkdir(parents=True, exist_ok=True)
            replace_file(file, png(explanation_panel(explanation, shot.name, remark)))
            written.append(file)
            question = explanation.question
            share = explanation.answers.get(question.head.name)
            told = "" if share is None else f" {share[question.label]:.2f}"
            say(f"{file}: {question}{told}; {', '.join(_told(look) for look in explanation.maps)}")
            if remark:
                say(remark)
    return written


def picture_shots(pictures: Sequence[Path]) -> Iterator[Shot]:
    """The pictures in files.

    Raises:
        SourceError: one cannot be decoded.
    """
    for path in pictures:
        yield Shot(path.stem, picture_from_file(path))


def segment_shots(sources: Sequence[Path], segments: Path, say: Say) -> Iterator[Shot]:
    """The key frames of a recording's segments, but for those from outside the body, which are never shown.

    Raises:
        ConfigError: not one recording, or no table of segments, or one of another recording.
        SourceError: the recording cannot be read.
    """
    table = segments / SEGMENTS if segments.is_dir() else segments
    if len(sources) != 1:
        raise ConfigError(f"wanted the one recording that {table} is of, got {len(sources)} files")
    recording = sources[0]
    stream_s = _checked_length(segments, recording) if segments.is_dir() else None
    wanted: dict[int, float] = {}
    numbers: dict[int, str] = {}
    for row in _rows(table):
        number, frame, time_s = row["number"], row["key_frame"], row["key_frame_s"]
        if row["location"] == OUTSIDE or not frame or not time_s:
            say(f"segment {number}: no key frame that may be shown")
            continue
        wanted[int(frame)] = float(time_s)
        numbers[int(frame)] = number
    found = key_frames(
        recording, wanted, stream_s=stream_s if stream_s is not None else max(wanted.values(), default=0)
    )
    for key_frame, number in numbers.items():
        if key_frame in found:
            yield Shot(f"{recording.stem}-segment-{int(number):02d}", picture_from_rgb(found[key_frame]))
        else:
            say(f"segment {number}: frame {key_frame} is not in the recording")


def _of_quality(heads: Sequence[Head], answers: Mapping[str, Probabilities], question: Question) -> str:
    """What must be known where the picture is bad: an engine would not have come to the answer that is explained."""
    quality = next((head for head in heads if head.role == "quality"), None)
    if quality is None or question.head.name == quality.name:
        return ""
    good = float(answers[quality.name][quality.labels.index("good")])
    return (
        ""
        if good >= QualityRule().usable_at
        else (f"Quality {good:.2f}: an engine refuses this picture and asks no other head.")
    )


def _rows(table: Path) -> list[dict[str, str]]:
    wanted = {"number", "location", "key_frame", "key_frame_s"}
    try:
        with table.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not wanted <= set(reader.fieldnames or ()):
                raise ConfigError(
                    f"{table}: wanted a segments.csv of `scopeline batch` with {sorted(wanted)}, "
                    f"got columns {reader.fieldnames}"
                )
            return list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{table}: wanted a segments.csv, cannot read it ({error})") from error


def _checked_length(results: Path, recording: Path) -> float | None:
    """Stream time of a results folder whose summary says that it is of this recording."""
    summary = read_summary(results)
    if summary is None or summary.recording is None:
        return None
    if summary.recording.file != recording.name:
        raise ConfigError(
            f"{results}: its results are of {summary.recording.file}, the recording given is {recording.name}"
        )
    return summary.stream_s


def _explainer_of_run(place: Path) -> Explainer:
    """By gradients, of a run's folder or of a checkpoint in one."""
    for name in ("torch", "captum"):
        if find_spec(name) is None:
            raise ConfigError(
                f"explaining a run needs {name}: {how_to_install('training')}; its bundle/ can be "
                "explained without"
            )
    from scopeline_training.network_explainer import NetworkExplainer
    from scopeline_training.run_network import network_of_run, run_of_checkpoint

    if place.is_dir():
        return NetworkExplainer(network_of_run(place))
    return NetworkExplainer(network_of_run(run_of_checkpoint(place), place))


def _free_name(out: Path, name: str, taken: Sequence[Path]) -> Path:
    """`name.png`, or with a number where another picture of this call has that name."""
    file, number = out / f"{name}.png", 2
    while file in taken:
        file, number = out / f"{name}-{number}.png", number + 1
    return file


def _told(look: LookMap) -> str:
    return f"{look.method.words} at {look.layer}" if look.layer else look.method.words
