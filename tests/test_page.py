"""Page: quality first, the rest only if it is good, from memory and on this machine only; in a browser and without."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("fastapi", reason="the page needs scopeline[training]")
pytest.importorskip("uvicorn", reason="the page needs scopeline[training]")

from chromium import Chromium
from fakes import POLYP, description
from media_clips import write_clip
from scopeline.bundle import Head, write_bundle
from scopeline.crop import CropKind
from scopeline.errors import ConfigError
from scopeline.picture import Pixels
from scopeline_training.commands import page as page_command
from scopeline_training.page.app import build_app
from scopeline_training.page.examiner import open_examiner
from scopeline_training.page.server import PageServer
from scopeline_training.page.upload import CLIP_LIMIT, PICTURE_LIMIT

SIZE = 32
QUALITY = Head(name="quality", role="quality", labels=("bad", "good"))
ORGAN = Head(name="organ", role="location", labels=("outside", "colon"))
MES = Head(name="mes", role="grade", labels=("0", "1", "2"))
SLOPES = {  # rows: red, green, blue of the mean colour; columns: labels. Green is bad, red is colon, bright is severe
    "quality": ((0, 0.05), (0.06, 0), (0, 0)),
    "organ": ((0, 0.1), (0, 0), (0.1, 0)),
    "mes": ((0, 0.01, 0.02), (0, 0, 0), (0, 0, 0)),
}
PIPELINE = """\
name = "gated"
[[bundles]]
path = "gated"
[heads.organ.when]
head = "quality"
label = "good"
at_least = 0.5
[heads.mes.when]
head = "organ"
label = "colon"
at_least = 0.5
[segments]
merge_s = 1.0
outside_s = 1.0
gap_s = 2.0
recent_s = 3.0
least_frames = 10
least_s = 1.0
least_graded = 5
"""
GOOD, BAD, ELSEWHERE = (190, 90, 70), (60, 160, 60), (90, 30, 170)


def softmax(colour: tuple[int, int, int], head: str) -> list[float]:
    """What a head must say of a picture of one colour."""
    logits = np.array(colour, np.float64) @ np.array(SLOPES[head])
    exponentials = np.exp(logits - logits.max())
    return list(exponentials / exponentials.sum())


def write_pipeline(folder: Path) -> Path:
    heads = (QUALITY, ORGAN, MES)
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0),
    ]
    weights = []
    for head in heads:
        weights.append(numpy_helper.from_array(np.array(SLOPES[head.name], np.float32), f"{head.name}.w"))
        nodes.append(helper.make_node("MatMul", ["mean", f"{head.name}.w"], [head.name]))
    graph = helper.make_graph(
        nodes,
        "gated",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info(h.name, TensorProto.FLOAT, ["batch", len(h.labels)]) for h in heads],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    about = description(*heads, name="gated", size=SIZE, crop=CropKind.INSCRIBED)
    write_bundle(folder / "gated", about, network=model.SerializeToString(), card="For tests.\n")
    file = folder / "gated.toml"
    file.write_text(PIPELINE)
    return file


def write_mask_pipeline(folder: Path) -> Path:
    """Every frame is good; red pixels are marked, at 32x32."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["floats", "zero", "one", "last"], ["red"]),
        helper.make_node("Sub", ["red", "half"], ["above"]),
        helper.make_node("Transpose", ["above"], ["polyp"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["mean", "slope"], ["quality"]),
    ]
    weights = [
        numpy_helper.from_array(np.array([0], np.int64), "zero"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
        numpy_helper.from_array(np.array([3], np.int64), "last"),
        numpy_helper.from_array(np.array(128, np.float32), "half"),
        numpy_helper.from_array(np.array([[0, 1]] * 3, np.float32), "slope"),
    ]
    graph = helper.make_graph(
        nodes,
        "masked",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("quality", TensorProto.FLOAT, ["batch", 2]),
            helper.make_tensor_value_info("polyp", TensorProto.FLOAT, ["batch", 1, SIZE, SIZE]),
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    about = description(QUALITY, POLYP, name="masked", size=SIZE, crop=CropKind.BOX)
    write_bundle(folder / "masked", about, network=model.SerializeToString(), card="For tests.\n")
    file = folder / "masked.toml"
    file.write_text('name = "masked"\n[[bundles]]\npath = "masked"\n')
    return file


def coloured(colour: tuple[int, int, int], *, width: int = 160, height: int = 120) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


def png(pixels: Pixels) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


def moving(colour: tuple[int, int, int], count: int) -> list[Pixels]:
    chance = np.random.default_rng(1)
    noise = chance.integers(-12, 13, (count, 120, 160, 3))
    return [np.clip(np.array(colour) + each, 0, 255).astype(np.uint8) for each in noise]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a page that is being served."""
    with serving(write_pipeline(tmp_path)) as url:
        yield url


class serving:
    """A page in a thread of its own, for as long as the block."""

    def __init__(self, pipeline: Path) -> None:
        self._server = PageServer(build_app(open_examiner(pipeline)))
        self._thread = threading.Thread(target=self._server.run)

    def __enter__(self) -> str:
        self._thread.start()
        return self._server.url

    def __exit__(self, *_: object) -> None:
        self._server.stop()
        self._thread.join()


def post(address: str, body: bytes, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(
        address, body, {"Content-Type": "application/octet-stream", **headers}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def heads_of(report: Any) -> dict[str, Any]:
    return {head["name"]: head for head in report["heads"]}


def test_a_good_picture_gets_every_answer_and_they_are_the_networks(served: str) -> None:
    status, report = post(served + "api/judge", png(coloured(GOOD)))
    assert status == 200
    assert report["kind"] == "picture"
    assert report["reason"] is None
    assert (report["width"], report["height"]) == (160, 120)
    assert report["quality"] == pytest.approx(softmax(GOOD, "quality")[1], abs=0.02)
    for name in ("organ", "mes"):
        assert heads_of(report)[name]["probabilities"] == pytest.approx(softmax(GOOD, name), abs=0.02)


def test_a_bad_picture_is_told_why_and_no_other_head_is_asked(served: str) -> None:
    _, report = post(served + "api/judge", png(coloured(BAD)))
    assert report["reason"] is not None
    assert report["quality"] < 0.5
    assert all(head["probabilities"] is None for head in report["heads"])
    assert "cannot be judged" in heads_of(report)["organ"]["why_not"]
    assert "cannot be judged" in heads_of(report)["mes"]["why_not"]


def test_a_head_whose_condition_does_not_hold_is_not_asked(served: str) -> None:
    _, report = post(served + "api/judge", png(coloured(ELSEWHERE)))
    assert report["reason"] is None
    assert np.argmax(heads_of(report)["organ"]["probabilities"]) == 0
    assert heads_of(report)["mes"]["probabilities"] is None
    assert heads_of(report)["mes"]["why_not"] == "not asked, because organ does not say colon"


def test_a_black_picture_is_refused_before_any_network(served: str) -> None:
    _, report = post(served + "api/judge", png(coloured((0, 0, 0))))
    assert report["reason"] == "black"
    assert report["quality"] is None


def test_the_field_of_view_of_a_picture_is_told_in_its_own_pixels(served: str) -> None:
    rows, columns = np.ogrid[:480, :640]
    disc = (rows - 240) ** 2 + (columns - 300) ** 2 <= 200**2
    pixels = np.where(disc[..., None], np.array(GOOD), 0).astype(np.uint8)
    _, report = post(served + "api/judge", png(pixels))
    (curve,) = report["field"]["curves"]
    distances = np.hypot(*(np.array(curve) - (300, 240)).T)
    assert distances.min() > 192
    assert distances.max() < 205
    x, y, width, height = report["field"]["shown"]
    corners = np.array([(x, y), (x + width, y), (x, y + height), (x + width, y + height)])
    assert np.hypot(*(corners - (300, 240)).T).max() < 203


def test_what_a_mask_marks_is_outlined_in_the_pictures_own_pixels(tmp_path: Path) -> None:
    pixels = coloured((90, 110, 100), width=320, height=320)
    pixels[80:160, 160:260, 0] = 240
    with serving(write_mask_pipeline(tmp_path)) as url:
        _, report = post(url + "api/judge", png(pixels))
        (mask,) = report["masks"]
        assert (mask["name"], mask["label"]) == ("polyp", "polyp")
        assert mask["share"] == pytest.approx(80 * 100 / 320**2, rel=0.15)
        (curve,) = (np.array(each) for each in mask["curves"])
        np.testing.assert_allclose(curve.min(axis=0), (160, 80), atol=8)
        np.testing.assert_allclose(curve.max(axis=0), (260, 160), atol=8)
        assert post(url + "api/map?head=polyp&label=polyp", png(pixels))[0] == 422


def test_a_clip_goes_through_a_whole_engine(served: str, tmp_path: Path) -> None:
    pixels = [*moving(GOOD, 120), *moving(BAD, 10)]
    clip = write_clip(tmp_path / "a.mp4", pixels=pixels, stamps_ms=[100 * n for n in range(130)])
    status, report = post(served + "api/judge", clip.read_bytes())
    assert status == 200
    assert report["kind"] == "clip"
    assert report["frames"] == 130
    assert 100 <= report["usable"] <= 120
    assert sum(report["reasons"].values()) == 130 - report["usable"]
    assert report["answers"]["organ"] == {"colon": report["usable"]}
    # Until the smoothing has seen enough there is no tag: the first segment has no location.
    assert [segment["location"] for segment in report["segments"]] == [None, "colon"]
    assert report["segments"][1]["picture"].startswith("data:image/jpeg;base64,")


def test_a_key_frame_of_a_clip_can_be_asked_about(served: str, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", pixels=moving(GOOD, 30)).read_bytes()
    where = served + "api/map?head=organ&label=colon&frame=12&time_s=0.48"
    status, report = post(where, clip)
    assert status == 200
    assert report["probability"] > 0.9
    assert post(served + "api/map?head=organ&label=colon&frame=99&time_s=3.96", clip)[0] == 422


def test_a_map_is_made_on_request_and_named_for_what_it_is(served: str) -> None:
    status, report = post(served + "api/map?head=mes&label=2", png(coloured(GOOD)))
    assert status == 200
    assert report["method"] == "occlusion"
    assert "not Grad-CAM" in report["note"]
    assert report["probability"] == pytest.approx(softmax(GOOD, "mes")[2], abs=0.02)
    assert report["picture"].startswith("data:image/jpeg;base64,")


@pytest.mark.parametrize("query", ["head=nothing&label=colon", "head=organ&label=nowhere"])
def test_a_map_of_what_is_not_there_is_refused(served: str, query: str) -> None:
    status, report = post(served + "api/map?" + query, png(coloured(GOOD)))
    assert status == 422
    assert "wanted to explain" in report["error"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 415, "an empty file"),
        (b"hello", 415, "none of these"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415, "none of these"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "none of these"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 422, "damaged or cut off"),
        (b"\xff\xd8\xff" + bytes(100), 422, "damaged or cut off"),
        (b"\0\0\0\x20ftypisom" + bytes(600), 422, "damaged or cut off"),
    ],
)
def test_wrong_files_are_refused_in_plain_words(served: str, body: bytes, status: int, words: str) -> None:
    found, report = post(served + "api/judge", body)
    assert found == status
    assert words in report["error"]


@pytest.mark.parametrize(
    ("declared", "sent", "words"),
    [
        (CLIP_LIMIT + 1, b"", b"a clip of at most 256 MB"),
        (PICTURE_LIMIT + 1, b"\x89PNG\r\n\x1a\n" + bytes(1000), b"a picture of at most 32 MB"),
    ],
)
def test_a_file_that_is_too_large_is_refused_before_all_of_it_is_sent(
    served: str, declared: int, sent: bytes, words: bytes
) -> None:
    connection = http.client.HTTPConnection(served.split("/")[2], timeout=30)
    connection.putrequest("POST", "/api/judge")
    connection.putheader("Content-Type", "application/octet-stream")
    connection.putheader("Content-Length", str(declared))
    connection.endheaders(sent)
    answer = connection.getresponse()
    assert answer.status == 413
    assert words in answer.read()
    connection.close()


def test_a_clip_that_is_too_long_is_refused(served: str, tmp_path: Path) -> None:
    stamps = [n * 5000 for n in range(30)]
    clip = write_clip(tmp_path / "long.mp4", pixels=moving(GOOD, 30), stamps_ms=stamps)
    status, report = post(served + "api/judge", clip.read_bytes())
    assert status == 413
    assert "at most 120 s" in report["error"]


def test_nothing_is_written_to_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bundle", "place", "clips"):
        (tmp_path / name).mkdir()
    clip = write_clip(
        tmp_path / "clips" / "a.mp4", pixels=moving(GOOD, 100), options={"crf": "0"}
    ).read_bytes()
    assert len(clip) > 1_100_000  # form parsers keep up to a megabyte in memory
    for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "place"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path / "place")
    with serving(write_pipeline(tmp_path / "bundle")) as url:
        assert post(url + "api/judge", clip)[0] == 200
        assert post(url + "api/judge", png(coloured(GOOD)))[0] == 200
    assert not list((tmp_path / "place").rglob("*"))


def test_a_request_under_a_foreign_name_is_refused(served: str) -> None:
    status, _ = post(served + "api/judge", png(coloured(GOOD)), Host="evil.example")
    assert status == 421


def test_a_request_that_a_foreign_page_could_send_is_refused(served: str) -> None:
    status, _ = post(served + "api/judge", png(coloured(GOOD)), **{"Content-Type": "text/plain"})
    assert status == 415


def test_the_page_is_one_file_that_fetches_nothing_from_elsewhere(served: str) -> None:
    with urllib.request.urlopen(served, timeout=30) as answer:
        text, rules = answer.read().decode(), answer.headers["Content-Security-Policy"]
    assert "Research use only. Not a medical device." in text
    assert "default-src 'none'" in rules
    assert text.replace("http://www.w3.org/2000/svg", "").count("//") == 0


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.20", "::", "example.org", ""])
def test_an_address_that_others_could_reach_is_refused_with_the_reason(address: str) -> None:
    with pytest.raises(ConfigError, match=r"neither password nor encryption.*ssh -L"):
        page_command(pipeline=None, run=None, port=0, address=address)


def test_a_taken_port_is_told_at_once(tmp_path: Path) -> None:
    examiner = open_examiner(write_pipeline(tmp_path))
    first = PageServer(build_app(examiner))
    port = int(first.url.split(":")[2].strip("/"))
    with first._socket, pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
        PageServer(build_app(examiner), port=port)
    examiner.close()


def test_a_pipeline_of_bundles_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'captum', 'lightning', 'timm', 'matplotlib'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from scopeline_training.page.app import build_app\n"
        "from scopeline_training.page.examiner import open_examiner\n"
        "from scopeline_training.page.server import PageServer\n"
        f"examiner = open_examiner(Path({str(write_pipeline(tmp_path))!r}))\n"
        "build_app(examiner)\n"
        f"report = examiner.examine(bytes.fromhex({png(coloured(GOOD)).hex()!r}))\n"
        "assert report.reason is None\n"
        f"examiner.explain(bytes.fromhex({png(coloured(GOOD)).hex()!r}), 'mes', '2')\n"
        "examiner.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


DROP = """
(() => {
  const bytes = Uint8Array.from(atob("%s"), (each) => each.charCodeAt(0)), data = new DataTransfer();
  data.items.add(new File([bytes], "a.png", { type: "image/png" }));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
})()
"""
SHOWN = "!document.getElementById('result').hidden"


@pytest.mark.programs("chromium")
def test_in_a_browser_quality_comes_first_and_the_rest_only_if_it_is_good(
    served: str, tmp_path: Path
) -> None:
    good, bad, wrong = tmp_path / "good.png", tmp_path / "bad.png", tmp_path / "wrong.png"
    rows, columns = np.ogrid[:240, :320]
    disc = ((rows - 120) ** 2 + (columns - 160) ** 2 <= 100**2)[..., None]
    good.write_bytes(png(np.where(disc, np.array(GOOD), 0).astype(np.uint8)))
    bad.write_bytes(png(coloured(BAD)))
    wrong.write_text("hello")
    with Chromium() as browser:
        browser.open(served, "document.body && document.body.dataset.ready")
        text = _text(browser)
        browser.choose_file("#file", good)
        browser.wait_for(SHOWN)
        assert "Good enough to judge" in text("#quality")
        cards = browser.value(
            "[...document.querySelectorAll('#verdicts h2')].map((each) => each.firstChild.data)"
        )
        assert cards == ["1. Quality", "organ", "mes"]
        assert "colon" in text("[data-head=organ] .say")
        assert browser.value("document.querySelectorAll('#rim').length") == 1
        browser.value("document.querySelector('[data-head=mes] button').click()")
        browser.wait_for(
            "document.getElementById('why').open && document.querySelector('#why img').naturalWidth"
        )
        assert "Why mes: 2" in text("#why h3")
        browser.value("document.querySelector('#why button').click()")
        browser.wait_for("!document.getElementById('why').open")
        picture = tmp_path / "page.png"
        browser.screenshot(picture)
        assert np.asarray(cv2.imread(str(picture))).std() > 10

        browser.choose_file("#file", bad)
        browser.wait_for(SHOWN + " && document.querySelector('.say.bad')")
        assert "Not judged" in text("#quality")
        assert "not asked" in text("[data-head=organ]")
        assert browser.value("document.querySelectorAll('[data-head] .bar').length") == 0
        assert not browser.complaints

        browser.choose_file("#file", wrong)
        browser.wait_for("!document.getElementById('error').hidden")
        assert "none of these" in text("#error")
        assert browser.value("document.getElementById('result').hidden")
        assert all(each.startswith((served, "data:")) for each in browser.requests)


@pytest.mark.programs("chromium")
def test_in_a_browser_a_picture_can_be_dropped_and_a_clip_is_shown_by_segments(
    served: str, tmp_path: Path
) -> None:
    import base64

    stamps = [100 * n for n in range(120)]
    clip = write_clip(tmp_path / "a.mp4", pixels=moving(GOOD, 120), stamps_ms=stamps)
    with Chromium() as browser:
        browser.open(served, "document.body && document.body.dataset.ready")
        browser.value(DROP % base64.b64encode(png(coloured(GOOD))).decode())
        browser.wait_for(SHOWN)
        assert "Good enough to judge" in _text(browser)("#quality")
        browser.choose_file("#file", clip)
        browser.wait_for(SHOWN + " && document.getElementById('result').className === 'clip'")
        names = browser.value("[...document.querySelectorAll('.segments b')].map((each) => each.textContent)")
        assert names == ["1  unknown", "2  colon"]
        assert "120" in _text(browser)(".facts")
        assert not browser.complaints


def _text(browser: Chromium) -> Callable[[str], str]:
    return lambda selector: str(browser.value(f"document.querySelector({selector!r}).innerText"))
