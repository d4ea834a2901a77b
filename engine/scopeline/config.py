"""Pipeline: a whole set-up on one screen, read from TOML.

Unknown keys are refused and named with their place. Paths are relative to the pipeline file.
"""

from __future__ import annotations

import hashlib
from difflib import get_close_matches
from pathlib import Path

import msgspec

from scopeline.errors import ConfigError
from scopeline.results_wanted import ResultsWanted
from scopeline.segments import SegmentSettings
from scopeline.shipped import shipped_pipelines
from scopeline.smoothing import GRADE_SMOOTHING, LOCATION_SMOOTHING, SmoothingSettings
from scopeline.wire import DEFAULT_ADDRESS, Encoding


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a pipeline file."""


class BundleChoice(_Section, frozen=True, kw_only=True):
    """One network and the runtime that carries it. Bundles run in the order of the file."""

    path: str
    backend: str = "onnxruntime"
    precision: str = "fp32"
    threads: int = 1
    """Threads for one inference. One leaves the other cores to decoding; two on two busy cores were twice as slow."""


class Condition(_Section, frozen=True, kw_only=True):
    """Only when the probability of another head's label on the same frame lies within bounds."""

    head: str
    label: str
    at_least: float = 0.0
    at_most: float = 1.0


class HeadRule(_Section, frozen=True, kw_only=True):
    """When a head is asked."""

    every_ms: float = 0.0
    """At most once in this many milliseconds of stream time."""
    when: Condition | None = None


class QualityRule(_Section, frozen=True, kw_only=True):
    usable_at: float = 0.5
    """Frames whose probability of being good lies below this are published with a reason instead of a verdict."""


class FieldRule(_Section, frozen=True, kw_only=True):
    profile: str = "auto"
    """`auto`: the field is found by itself, and a shipped scope profile for exactly this signal size takes its place
    while it agrees. `none`: found by itself only. Anything else names a scope profile that pins the field of view."""


class Publishing(_Section, frozen=True, kw_only=True):
    address: str = DEFAULT_ADDRESS
    encoding: Encoding = "json"
    wall_clock: bool = False
    """Whether messages carry the time of day. Off by default: it can identify a patient."""
    mask_rle: bool = False
    """Whether masks are published as run lengths too, beside their outlines."""


class GpuRule(_Section, frozen=True, kw_only=True):
    """For bundles with `backend = "tensorrt"`. Decides how soon answers come, never which; but for `preprocess` and
    `decode`, which may turn a pixel and are part of the pipeline's hash."""

    device: int = 0
    """Number of the GPU among those that the driver shows this process."""
    keep_warm: bool = False
    """Give the GPU a little work between frames, so that its clocks stay up at the price of some watts."""
    cache: str = ""
    """Folder of built plans; in the user's cache folder when empty."""
    preprocess: bool = False
    """Cut, shrink and colour on the GPU, within one grey level of the CPU on average. Off until a measurement on the
    machine shows that it is faster (`bench/gpu_proof.sh`, stage `preprocess`)."""
    decode: bool = False
    """Decode the recordings of a batch on the GPU's own decoder (NVDEC); on the CPU where it cannot. Sound recordings
    give the same pictures, damaged ones may not. Off until measured (stage `decode`)."""


class Pipeline(_Section, frozen=True, kw_only=True):
    """What to run and how to conclude from it."""

    name: str
    bundles: tuple[BundleChoice, ...]
    heads: dict[str, HeadRule] = {}
    quality: QualityRule = QualityRule()
    field: FieldRule = FieldRule()
    smoothing: dict[str, SmoothingSettings] = {}
    """By head; heads without an entry take the default of their role."""
    segments: SegmentSettings = SegmentSettings()
    publish: Publishing = Publishing()
    results: ResultsWanted = ResultsWanted()
    gpu: GpuRule = GpuRule()
    batch: int = 8
    """Frames per inference where recordings go through in bulk. A network's weights are gone from the cache whenever a
    picture was decoded in between: a small one cost 1.4 ms of processor time a frame in a running engine asked one by
    one, 1.0 ms by four, and eight took another 0.2 ms off. For large ones (EfficientNet-B0) four is 12 % cheaper."""
    folder: str = "."
    """Where relative paths start. Set by `load_pipeline`."""

    def bundle_path(self, choice: BundleChoice) -> Path:
        return Path(self.folder) / choice.path

    @property
    def hash(self) -> str:
        """`sha256:<12 digits>` of everything that decides results; folders and addresses do not count."""
        gpu = GpuRule(preprocess=self.gpu.preprocess, decode=self.gpu.decode)
        deciding = msgspec.structs.replace(
            self, folder=".", publish=Publishing(), gpu=gpu, results=ResultsWanted()
        )
        # Heads that the file does not name are smoothed by these; a changed default is another set-up.
        whole = msgspec.json.encode([deciding, LOCATION_SMOOTHING, GRADE_SMOOTHING], order="deterministic")
        return f"sha256:{hashlib.sha256(whole).hexdigest()[:12]}"


def load_pipeline(path: Path) -> Pipeline:
    """Read a pipeline file, or one that ships with Scopeline by its bare name (`colonoscopy`).

    Raises:
        ConfigError: the file does not exist, or a key is unknown, missing or out of place; says which and where.
    """
    file = path if path.suffix else shipped_pipelines() / f"{path}.toml"
    try:
        pipeline = msgspec.toml.decode(file.read_bytes(), type=Pipeline)
    except FileNotFoundError as error:
        known = sorted(entry.stem for entry in shipped_pipelines().glob("*.toml"))
        near = get_close_matches(path.stem, known, n=1)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(
            f"{path}: no such pipeline file{meant} Scopeline ships {', '.join(known)}; or give the path of a .toml"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{file}: not a pipeline: {error}") from error
    _check(file, pipeline)
    return msgspec.structs.replace(pipeline, folder=str(file.parent))


def _check(file: Path, pipeline: Pipeline) -> None:
    if not pipeline.bundles:
        raise ConfigError(f"{file}: a pipeline needs at least one [[bundles]] entry with a path")
    if pipeline.batch < 1 or any(choice.threads < 1 for choice in pipeline.bundles):
        raise ConfigError(f"{file}: batch and threads must be at least 1")
    if pipeline.gpu.device < 0:
        raise ConfigError(f"{file}: gpu.device is a number from 0 on, got {pipeline.gpu.device}")
    if not 0 <= pipeline.quality.usable_at <= 1:
        raise ConfigError(f"{file}: quality.usable_at is a probability, got {pipeline.quality.usable_at}")
    for name, rule in pipeline.heads.items():
        if rule.every_ms < 0:
            raise ConfigError(f"{file}: heads.{name}.every_ms is a time from 0 on, got {rule.every_ms}")
        when = rule.when
        if when is not None and not 0 <= when.at_least <= when.at_most <= 1:
            raise ConfigError(
                f"{file}: heads.{name}.when wants 0 <= at_least <= at_most <= 1, "
                f"got {when.at_least} and {when.at_most}"
            )
