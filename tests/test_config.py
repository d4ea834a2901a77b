from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from scopeline.config import (
    BundleChoice,
    Condition,
    FieldRule,
    GpuRule,
    HeadRule,
    Pipeline,
    Publishing,
    QualityRule,
    load_pipeline,
)
from scopeline.errors import ConfigError
from scopeline.results_wanted import ResultsWanted
from scopeline.segments import SegmentSettings
from scopeline.shipped import shipped_pipelines
from scopeline.smoothing import SmoothingSettings

_MINIMAL = 'name = "test"\n[[bundles]]\npath = "bundles/demo"\n'


def _load(folder: Path, text: str) -> Pipeline:
    file = folder / "pipeline.toml"
    file.write_text(text)
    return load_pipeline(file)


def test_a_pipeline_needs_only_a_name_and_a_bundle(tmp_path: Path) -> None:
    pipeline = _load(tmp_path, _MINIMAL)
    assert pipeline.bundles[0].backend == "onnxruntime"
    assert pipeline.bundles[0].precision == "fp32"
    assert pipeline.bundle_path(pipeline.bundles[0]) == tmp_path / "bundles/demo"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (_MINIMAL + "[segments]\nmerge = 3.0\n", r"unknown field `merge` - at `\$\.segments`"),
        (_MINIMAL + "[quality]\nusable_at = 2.0\n", "is a probability, got 2.0"),
        ("batch = 0\n" + _MINIMAL, "batch and threads must be at least 1"),
        ('name = "test"\nbundles = []\n', "at least one"),
        (_MINIMAL + "[heads.mes]\nevery_ms = -1.0\n", r"heads\.mes\.every_ms is a time from 0 on, got -1"),
        (
            _MINIMAL + '[heads.mes.when]\nhead = "quality"\nlabel = "good"\nat_least = 50.0\n',
            r"heads\.mes\.when wants 0 <= at_least <= at_most <= 1, got 50",
        ),
        ("name = ", "not a pipeline"),
        (
            _MINIMAL + "[publish]\nencoding = 'yaml'\n",
            r"Invalid enum value 'yaml' - at `\$\.publish\.encoding`",
        ),
    ],
)
def test_a_wrong_pipeline_says_what_and_where(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        _load(tmp_path, text)
    assert "pipeline.toml" in str(caught.value)


def test_a_file_that_is_no_text_is_no_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.toml"
    file.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(ConfigError, match=r"pipeline\.toml: not a pipeline"):
        load_pipeline(file)


def test_a_pipeline_that_does_not_exist_names_those_that_ship() -> None:
    with pytest.raises(ConfigError, match=r"ships colonoscopy, demo"):
        load_pipeline(Path("gastroscopy"))


@pytest.mark.parametrize("file", sorted(shipped_pipelines().glob("*.toml")), ids=lambda file: file.stem)
def test_every_pipeline_that_ships_can_be_read_by_its_name(file: Path) -> None:
    assert load_pipeline(Path(file.stem)).name == file.stem


def test_the_hash_follows_what_decides_results_and_nothing_else(tmp_path: Path) -> None:
    plain = _load(tmp_path, _MINIMAL)
    elsewhere = _load(tmp_path, _MINIMAL + '[publish]\naddress = "tcp://127.0.0.1:7777"\n')
    stricter = _load(tmp_path, _MINIMAL + "[quality]\nusable_at = 0.7\n")
    assert plain.hash == elsewhere.hash
    assert plain.hash != stricter.hash


@pytest.mark.parametrize(
    "section",
    [
        Pipeline,
        BundleChoice,
        Condition,
        HeadRule,
        QualityRule,
        FieldRule,
        Publishing,
        ResultsWanted,
        GpuRule,
        SmoothingSettings,
        SegmentSettings,
    ],
)
def test_the_page_explains_every_key_with_its_default(section: type[msgspec.Struct]) -> None:
    page = (shipped_pipelines() / "README.md").read_text()
    ours = {"folder", "heads", "bundles", "smoothing", "segments", "publish", "quality", "field", "when"}
    ours |= {"results", "gpu"}
    for field in msgspec.structs.fields(section):
        if field.name not in ours:
            assert re.search(rf"`[^`]*\b{field.name}\b[^`]*`", page), f"{field.name} is not explained"


def test_the_shipped_defaults_are_those_on_the_page() -> None:
    page = (shipped_pipelines() / "README.md").read_text()
    plain = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", page, re.MULTILINE)
    defaults = {
        f.name: f.default
        for part in (SmoothingSettings, SegmentSettings)
        for f in msgspec.structs.fields(part)
    }
    assert len(plain) > 10
    for name, value in plain:
        if name in defaults:
            assert float(value) == defaults[name], name
