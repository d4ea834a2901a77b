"""docs/results.md names what there is, and its two lines of Python work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from messages import Script
from scopeline.segment_table import segments_csv
from scopeline.sinks.folder import FolderSink
from scopeline.summary import Procedure, Summary

_PAGE = (Path(__file__).parents[1] / "docs" / "results.md").read_text(encoding="utf-8")
_NAMED = set(re.findall(r"`([a-z_0-9]+)`", _PAGE))


def test_every_column_and_every_field_is_explained() -> None:
    columns = segments_csv([]).strip().split(",")
    fields = [field.name for struct in (Summary, Procedure) for field in msgspec.structs.fields(struct)]
    explained = _NAMED | {"frames_mes_1", "frames_mes_2"}  # written with dots on the page
    assert not {name for name in (*columns, *fields) if name not in explained}


def test_the_lines_of_python_on_the_page_read_the_frames(tmp_path: Path, monkeypatch: Any) -> None:
    script = Script()
    sink = FolderSink(tmp_path)
    for _ in range(1300):
        sink.publish(script.frame())
    sink.close()
    monkeypatch.chdir(tmp_path)
    (lines,) = re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(lines, names)
    names["reader"].close()
    assert [frame["frame"] for frame in names["frames"]] == list(range(1300))
