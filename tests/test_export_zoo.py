"""Export of the zoo: the graph the engine gets equals torch, takes bytes, any batch, and opset 17."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scopeline_training.zoo", reason="the zoo needs scopeline[training]")

import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from scopeline.bundle import Description, Head, Input, Training, load_bundle
from scopeline.bundle import Network as NetworkFile
from scopeline.crop import CropKind
from scopeline.errors import BundleError
from scopeline_training.bundle_writer import save_described
from scopeline_training.export import OPSET, PARITY, beyond_rounding, export_onnx, parity, scope_like_noise
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.zoo import build, build_dual

QUALITY = HeadPlan(name="quality", role="quality", labels=("bad", "good"))
CORN = HeadPlan(name="mes", role="grade", labels=("0", "1", "2", "3"), loss="corn")
SCORE = HeadPlan(name="severity", role="grade", labels=("0", "1", "2", "3"), loss="regression")
POLYP = HeadPlan(name="polyp", role="mask", labels=("background", "polyp"), loss="bce_dice")


def noise(count: int, height: int, width: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def shapes(path: Path) -> dict[str, tuple[str, list[int | str]]]:
    """Type and shape of each input and output of a graph."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return {each.name: (each.type, each.shape) for each in (*session.get_inputs(), *session.get_outputs())}


@pytest.mark.parametrize(
    "plan",
    [
        NetworkPlan(backbone="small", normalise="sample_std"),
        NetworkPlan(backbone="small", normalise="data", mean=(0.4, 0.3, 0.2), std=(0.2, 0.2, 0.1), hidden=16),
        NetworkPlan(backbone="mobilenetv3_small_050"),
        NetworkPlan(backbone="mobilenetv2", normalise="unit"),
    ],
    ids=lambda plan: f"{plan.backbone}-{plan.normalise}",
)
def test_several_heads_leave_in_one_graph(plan: NetworkPlan, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build(plan, [QUALITY, CORN, SCORE])
    path = tmp_path / "model.onnx"
    export_onnx(network, path, size=64)
    assert parity(network, path, size=64) <= PARITY
    assert shapes(path) == {
        "pixels": ("tensor(uint8)", ["batch", 64, 64, 3]),
        "quality": ("tensor(float)", ["batch", 2]),
        "mes": ("tensor(float)", ["batch", 4]),
        "severity": ("tensor(float)", ["batch", 4]),
    }
    assert [each.version for each in onnx.load(str(path)).opset_import] == [OPSET] == [17]


@pytest.mark.parametrize("backbone", ["unet", "unet_small", "unet_mobilenetv3_small_050"])
def test_a_mask_leaves_at_the_size_of_the_picture(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build(NetworkPlan(backbone=backbone), [POLYP, QUALITY])
    path = tmp_path / "model.onnx"
    export_onnx(network, path, size=(64, 96))
    assert shapes(path) == {
        "pixels": ("tensor(uint8)", ["batch", 64, 96, 3]),
        "polyp": ("tensor(float)", ["batch", 1, 64, 96]),
        "quality": ("tensor(float)", ["batch", 2]),
    }
    given = noise(2, 64, 96, seed=9)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (mask,) = session.run(["polyp"], {"pixels": given})
    with torch.inference_mode():
        wanted = network(torch.from_numpy(given))["polyp"].numpy()
    np.testing.assert_allclose(mask, wanted, atol=PARITY)


def test_a_dual_network_leaves_with_two_inputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plan = NetworkPlan(backbone="small", normalise="sample_std", inputs=("colon", "rectum"))
    network = build_dual(plan, HeadPlan(name="mes", role="grade", labels=("0", "1")))
    path = tmp_path / "model.onnx"
    export_onnx(network, path, size=64, inputs=network.input_names)
    assert shapes(path) == {
        "colon_pixels": ("tensor(uint8)", ["batch", 64, 64, 3]),
        "rectum_pixels": ("tensor(uint8)", ["batch", 64, 64, 3]),
        "colon": ("tensor(float)", ["batch", 2]),
        "rectum": ("tensor(float)", ["batch", 2]),
        "fused": ("tensor(float)", ["batch", 2]),
    }
    colon, rectum = noise(2, 64, 64, seed=1), noise(2, 64, 64, seed=2)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (fused,) = session.run(["fused"], {"colon_pixels": colon, "rectum_pixels": rectum})
    with torch.inference_mode():
        wanted = network(torch.from_numpy(colon), torch.from_numpy(rectum))["fused"].numpy()
    np.testing.assert_allclose(fused, wanted, atol=PARITY)


def test_parity_grants_float32_its_rounding_and_nothing_more() -> None:
    usual = np.array([[3.0, -8.0]], np.float32)
    assert beyond_rounding(usual, usual + np.float32(2e-4)) > PARITY
    assert beyond_rounding(usual, usual + np.float32(5e-5)) < PARITY
    exploded = np.array([[-3884.106, 32570.4]], np.float32)  # a network of twelve batches, on noise
    assert beyond_rounding(exploded, np.nextafter(exploded, np.float32(np.inf))) < PARITY
    assert beyond_rounding(exploded, exploded * np.float32(1.00001)) > PARITY
    assert beyond_rounding(usual, np.full_like(usual, np.nan)) == np.inf


def test_the_pictures_of_the_proof_are_as_smooth_as_those_of_a_scope() -> None:
    pictures = scope_like_noise(np.random.default_rng(1), (6, 128, 128, 3)).astype(np.float64)
    amplitude = np.abs(np.fft.fft2(pictures - pictures.mean(), axes=(1, 2))).mean(axis=(0, 3))
    turns = np.fft.fftfreq(128) * 128
    frequency = np.hypot(turns[:, None], turns[None])
    rings = np.arange(2, 50)
    of_ring = [amplitude[(frequency >= ring - 0.5) & (frequency < ring + 0.5)].mean() for ring in rings]
    slope = np.polyfit(np.log(rings), np.log(of_ring), 1)[0]
    assert slope == pytest.approx(-1.7, abs=0.1)
    assert (pictures.min(), pictures.max()) == (0, 255)
    assert pictures.std(axis=(1, 2, 3)) == pytest.approx(57.0, abs=4.0)
    assert np.unique(pictures, axis=0).shape == pictures.shape


def test_a_picture_without_contrast_leaves_finite(tmp_path: Path) -> None:
    network = build(NetworkPlan(backbone="small", normalise="sample_std"), [CORN])
    path = tmp_path / "model.onnx"
    export_onnx(network, path, size=32)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (black,) = session.run(["mes"], {"pixels": np.zeros((1, 32, 32, 3), np.uint8)})
    assert np.isfinite(black).all()


class Forgetful(nn.Module):
    """Answers otherwise every time, so that no graph can equal it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        return {"quality": pixels.float().mean(dim=(1, 2))[:, :2] + self.calls}


def test_a_graph_that_differs_from_torch_is_refused_and_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"a good one")
    with pytest.raises(BundleError, match=r"wanted answers within 0.0001 of torch's, they differ by"):
        export_onnx(Forgetful(), tmp_path / "model.onnx", size=8)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("model.onnx", b"a good one")]


def describing(**heads: tuple[str, ...]) -> Description:
    """Of a network of the heads `quality` and, if it is asked for, `mes`, shown 64x32 pixels."""
    return Description(
        schema=1, name="trial", version="1", licence="CC0-1.0", notice="Test.",
        input=Input(width=64, height=32, crop=CropKind.INSCRIBED),
        network=NetworkFile(file="model.onnx", sha256="", opset=OPSET),
        training=Training(recipe="r", command="c", data="d", data_sha256="", seed=0),
        heads=tuple(
            Head(name=name, role="quality" if name == "quality" else "grade", labels=labels)
            for name, labels in heads.items()
        ),
    )  # fmt: skip


def test_a_network_of_the_zoo_becomes_a_bundle(tmp_path: Path) -> None:
    network = build(NetworkPlan(backbone="small"), [QUALITY, CORN])
    description = describing(quality=("bad", "good"), mes=("0", "1", "2", "3"))
    bundle = save_described(tmp_path / "b", network, description, card="A trial.")
    assert shapes(bundle.onnx_path)["pixels"] == ("tensor(uint8)", ["batch", 32, 64, 3])


@pytest.mark.parametrize("wrong", ["network", "description"])
def test_a_bundle_that_is_refused_replaces_nothing(tmp_path: Path, wrong: str) -> None:
    good = build(NetworkPlan(backbone="small"), [QUALITY])
    kept = save_described(tmp_path / "b", good, describing(quality=("bad", "good")), card="The good one.")
    network = Forgetful() if wrong == "network" else good
    labels = ("bad", "good") if wrong == "network" else ("bad", "worse")
    with pytest.raises(BundleError):
        save_described(tmp_path / "b", network, describing(quality=labels), card="Another.")
    assert load_bundle(tmp_path / "b") == kept
    assert (tmp_path / "b" / "card.md").read_text("utf-8") == "The good one."
    assert [each.name for each in tmp_path.iterdir()] == ["b"]
