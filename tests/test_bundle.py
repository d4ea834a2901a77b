from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax

from fakes import MES, POLYP, QUALITY, description, fake_bundle
from scopeline.bundle import Head, check_outputs, load_bundle, write_bundle
from scopeline.errors import BundleError

_TOML = """
schema = 1
name = "toy"
version = "1"
licence = "Apache-2.0"
notice = "Research use only."
[input]
width = 32
height = 32
crop = "inscribed"
[network]
file = "model.onnx"
sha256 = "{sha256}"
opset = 17
[training]
recipe = ""
command = ""
data = ""
data_sha256 = ""
seed = 1
[[heads]]
name = "quality"
role = "quality"
labels = ["bad", "good"]
"""


def _write(folder: Path, text: str = _TOML, network: bytes = b"network") -> Path:
    (folder / "model.onnx").write_bytes(network)
    (folder / "bundle.toml").write_text(text.replace("{sha256}", hashlib.sha256(b"network").hexdigest()))
    return folder


def test_a_bundle_is_read_from_its_folder(tmp_path: Path) -> None:
    bundle = load_bundle(_write(tmp_path))
    assert bundle.heads[0].labels == ("bad", "good")
    assert bundle.onnx_path == tmp_path / "model.onnx"


def test_a_network_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="damaged or not the one that was described"):
        load_bundle(_write(tmp_path, network=b"another network"))


def test_an_unknown_key_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"unknown field `widht` - at `\$\.input`"):
        load_bundle(_write(tmp_path, _TOML.replace("width = 32", "widht = 32")))


def test_a_folder_without_a_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"wanted a model bundle"):
        load_bundle(tmp_path / "nothing")


def test_a_description_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle.toml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(BundleError, match="not a bundle description"):
        load_bundle(tmp_path)


def test_a_bundle_of_another_schema_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="schema 1, got 9"):
        load_bundle(_write(tmp_path, _TOML.replace("schema = 1", "schema = 9")))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (('labels = ["bad", "good"]', 'labels = ["bad", "fine"]'), "needs a label 'good'"),
        (('labels = ["bad", "good"]', 'labels = ["good"]'), "two or more different labels"),
        (('role = "quality"', 'role = "quality"\ntemperature = 0.0'), "temperature must be positive"),
        (('role = "quality"', 'role = "quality"\nthreshold = 0.5'), "a threshold is for masks"),
        (('role = "quality"', 'role = "mask"\nthreshold = 0.5'), "needs one label"),
        (
            ('role = "quality"\nlabels = ["bad", "good"]', 'role = "mask"\nlabels = ["polyp"]'),
            "needs a threshold between 0 and 1, got None",
        ),
        (
            (
                'role = "quality"\nlabels = ["bad", "good"]',
                'role = "mask"\nlabels = ["polyp"]\nthreshold = 0.5\nabstain_below = 0.2',
            ),
            "a mask cannot abstain",
        ),
    ],
)
def test_heads_that_make_no_sense_are_refused(
    tmp_path: Path, change: tuple[str, str], complaint: str
) -> None:
    with pytest.raises(BundleError, match=complaint):
        load_bundle(_write(tmp_path, _TOML.replace(*change)))


def test_outputs_must_be_the_heads() -> None:
    bundle = fake_bundle(QUALITY, MES)
    check_outputs(bundle, {"quality": (2,), "mes": (4,)})
    check_outputs(bundle, {"quality": (None,), "mes": (4,)})
    wrong: tuple[dict[str, tuple[int, ...]], ...] = (
        {"quality": (2,)},
        {"quality": (2,), "mes": (3,)},
        {"quality": (2,), "mes": (1, 4)},
        {"quality": (2,), "mes": (4,), "organ": (3,)},
    )
    for outputs in wrong:
        with pytest.raises(BundleError, match="must agree in name and size"):
            check_outputs(bundle, outputs)


def test_probabilities_are_the_tempered_softmax() -> None:
    head = Head(name="mes", role="grade", labels=("0", "1", "2", "3"), temperature=1.7)
    logits = np.array([300.0, -2.0, 299.0, 1.0], np.float32)
    assert head.probabilities(logits) == pytest.approx(softmax(logits.astype(float) / 1.7), abs=1e-6)


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    odd = Head(name="mes", role="grade", labels=('0 \u2013 "none"', "1"), temperature=1.25, abstain_below=0.3)
    about = description(QUALITY, odd, name="odd", size=48)
    written = write_bundle(tmp_path / "odd", about, network=b"network", card="# Card\n")
    assert written.heads == (QUALITY, odd)
    assert written.network.sha256 == hashlib.sha256(b"network").hexdigest()
    assert (written.name, written.input, written.training) == ("odd", about.input, about.training)


def test_a_mask_must_be_as_large_as_the_picture() -> None:
    bundle = fake_bundle(POLYP)
    check_outputs(bundle, {"polyp": (1, 32, 32)})
    check_outputs(bundle, {"polyp": (1, "height", "width")})
    for shape in ((1, 16, 16), (2, 32, 32), (32, 32), (1,)):
        with pytest.raises(BundleError, match="must agree in name and size"):
            check_outputs(bundle, {"polyp": shape})


def test_a_mask_is_the_tempered_logistic_function() -> None:
    head = Head(name="polyp", role="mask", labels=("polyp",), threshold=0.5, temperature=1.7)
    logits = np.array([[[-200.0, -3.0, 0.0], [0.5, 40.0, 300.0]]], np.float32)
    assert head.mask(logits) == pytest.approx(expit(logits[0].astype(float) / 1.7), abs=1e-6)
    assert head.mask(logits).dtype == np.float32


def test_a_mask_head_is_written_and_read_back(tmp_path: Path) -> None:
    about = description(QUALITY, POLYP)
    assert write_bundle(tmp_path, about, network=b"network", card="# Card\n").heads == (QUALITY, POLYP)
    assert (tmp_path / "bundle.toml").read_text().count("threshold") == 1
