"""The light U-Net and answers that are averaged with those of the mirror image."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("torch", reason="training needs scopeline[training]")

import torch

from scopeline_training.export import export_onnx
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.zoo import build

POLYP = HeadPlan(name="polyp", role="mask", labels=("background", "polyp"), loss="bce_dice")
MES = HeadPlan(name="mes", role="grade", labels=("0", "1", "2"))
PLAN = NetworkPlan(backbone="unet_light", normalise="unit", dropout=0.0)
MIRRORED = NetworkPlan(backbone="unet_light", normalise="unit", dropout=0.0, mirrored=True)


def noise(count: int, size: int = 64) -> torch.Tensor:
    pixels = np.random.default_rng(4).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return torch.from_numpy(pixels)


@pytest.mark.parametrize(
    ("plan", "is_fitted", "same"),
    [(PLAN, True, ""), (MIRRORED, False, "across"), (MIRRORED, True, "across down both")],
)
def test_a_mirrored_network_draws_a_mirror_image_in_the_mirror(
    plan: NetworkPlan, is_fitted: bool, same: str
) -> None:
    torch.manual_seed(1)
    network = build(plan, [POLYP]).eval()
    if is_fitted:
        network.look_all_ways()
    found = []
    with torch.inference_mode():
        straight = network(noise(2))["polyp"]
        for name, axes in (("across", (2,)), ("down", (1,)), ("both", (1, 2))):
            mirror = network(noise(2).flip(axes))["polyp"].flip([axis + 1 for axis in axes])
            found += [name] if torch.allclose(straight, mirror, atol=1e-5) else []
    assert found == same.split()


def test_mirroring_is_for_masks_and_not_while_training() -> None:
    torch.manual_seed(1)
    mirrored, plain = build(MIRRORED, [POLYP, MES]), build(PLAN, [POLYP, MES])
    plain.load_state_dict(mirrored.state_dict())
    taught, taught_plain = mirrored(noise(2)), plain(noise(2))
    assert torch.equal(taught["polyp"], taught_plain["polyp"])
    with torch.inference_mode():
        asked, asked_plain = mirrored.eval()(noise(2)), plain.eval()(noise(2))
    assert torch.equal(asked["mes"], asked_plain["mes"])
    assert not torch.equal(asked["polyp"], asked_plain["polyp"])


def test_it_leaves_with_its_mirror_for_any_batch_and_answers_like_torch(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build(MIRRORED, [POLYP]).eval()
    network.look_all_ways()
    export_onnx(network, tmp_path / "model.onnx", size=64)
    assert (tmp_path / "model.onnx").stat().st_size < 2_500_000
    session = ort.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 3):
        (mask,) = session.run(["polyp"], {"pixels": noise(count).numpy()})
        with torch.inference_mode():
            wanted = network(noise(count))["polyp"].numpy()
        np.testing.assert_allclose(mask, wanted, atol=1e-4)
