"""Explain: maps light up where the answer was planted, whatever they are made with, and leave the network as it was."""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("captum", reason="explanations need scopeline[training]")

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fakes import QUALITY, description
from media_clips import write_clip
from scopeline.backends import open_backend
from scopeline.bundle import Head, Input, write_bundle
from scopeline.crop import CropKind
from scopeline.errors import ConfigError
from scopeline.picture import Pixels, picture_from_rgb
from scopeline_training.backbone import Backbone, Features
from scopeline_training.explain import Wish, explain_all, explain_picture
from scopeline_training.explanation import Method, Question
from scopeline_training.gradient_maps import (
    TorchNetwork,
    grad_cam,
    guided_backpropagation,
    guided_grad_cam,
    unguided_activations,
)
from scopeline_training.heat import overlaid
from scopeline_training.network_explainer import NetworkExplainer
from scopeline_training.network_plan import HeadPlan, NetworkPlan
from scopeline_training.occlusion import log_odds, occlusion_map
from scopeline_training.trainable_network import TrainableNetwork

SIZE, PATCH = 48, 12
FINDING = Head(name="finding", role="finding", labels=("plain", "patch"))
SHOWN = Input(width=SIZE, height=SIZE, crop=CropKind.BOX)
QUESTION = Question(FINDING, 1)


class TinyBackbone(Backbone):
    """Three convolutions and nn.ReLU modules, one of them in place, as in VGG."""

    cam_layers: ClassVar[tuple[str, ...]] = ("trunk.1", "trunk.5", "trunk.8")  # type: ignore[misc]

    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.features = 16
        self.trunk = nn.Sequential(
            nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), activation(),
            nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Features:
        return Features(self.trunk(x).mean(dim=(2, 3)))


def plain(seed: int) -> Pixels:
    """Mucosa-coloured noise."""
    chance = np.random.default_rng(seed)
    return (np.array((150, 90, 70)) + chance.integers(-30, 31, (SIZE, SIZE, 3))).astype(np.uint8)


def planted(seed: int) -> tuple[Pixels, NDArray[np.bool_]]:
    """The same with a striped patch, and where it is. Its mean colour is that of the rest."""
    pixels = plain(seed)
    row, column = np.random.default_rng(1000 + seed).integers(2, SIZE - PATCH - 2, 2)
    where = np.zeros((SIZE, SIZE), np.bool_)
    where[row : row + PATCH, column : column + PATCH] = True
    stripes = np.where(np.arange(SIZE)[None, :] // 2 % 2, 60, -60) + np.zeros((SIZE, 1))
    pixels[where] = np.clip(pixels[where] + stripes[where][:, None], 0, 255).astype(np.uint8)
    return pixels, where


@cache
def trained() -> TorchNetwork:
    """A network that has learnt to tell patch from plain: a few seconds."""
    torch.manual_seed(3)
    heads = [HeadPlan(name="finding", labels=("plain", "patch"))]
    network = TrainableNetwork(NetworkPlan(backbone="small", dropout=0.0), heads, TinyBackbone())
    pictures = torch.from_numpy(np.stack([plain(n) for n in range(64)] + [planted(n)[0] for n in range(64)]))
    labels = torch.arange(128) // 64
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(12):
        for rows in torch.randperm(128).reshape(4, 32):
            optimiser.zero_grad()
            cross_entropy(network(pictures[rows])["finding"], labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return TorchNetwork(network.eval(), (FINDING,), SHOWN)


def untrained(activation: type[nn.Module] = nn.ReLU, **plan: int) -> TorchNetwork:
    heads = [HeadPlan(name="finding", labels=("plain", "patch"))]
    network = TrainableNetwork(NetworkPlan(backbone="small", **plan), heads, TinyBackbone(activation))  # type: ignore[arg-type]
    return TorchNetwork(network.eval(), (FINDING,), SHOWN)


def _layers(of: TorchNetwork) -> nn.Sequential:
    trunk = of.network.backbone.trunk
    assert isinstance(trunk, nn.Sequential)
    return trunk


def focus(values: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """How much stronger a map is on the patch than beside it, as a share of both; 0.5 is chance."""
    strength = np.abs(values) if values.ndim == 2 else np.abs(values).sum(axis=2)
    inside, outside = float(strength[where].mean()), float(strength[~where].mean())
    return inside / (inside + outside)


def test_the_toy_network_tells_new_patches_from_plain_pictures() -> None:
    network = trained()
    said = [network.answers(planted(n)[0])["finding"][1] for n in range(200, 210)]
    said += [network.answers(plain(n))["finding"][0] for n in range(200, 210)]
    assert min(said) > 0.8


@pytest.mark.parametrize("layer", ["backbone.trunk.5", "backbone.trunk.8"])
def test_grad_cam_finds_the_planted_patch(layer: str) -> None:
    for seed in range(300, 306):
        pixels, where = planted(seed)
        found = grad_cam(trained(), pixels, QUESTION, layer)
        assert focus(found, where) > 0.8
        assert where[np.unravel_index(found.argmax(), found.shape)]


def test_guided_backpropagation_finds_the_planted_patch() -> None:
    for seed in range(300, 306):
        pixels, where = planted(seed)
        assert focus(guided_backpropagation(trained(), pixels, QUESTION), where) > 0.7


def test_guided_grad_cam_finds_the_planted_patch() -> None:
    for seed in range(300, 306):
        pixels, where = planted(seed)
        found = guided_grad_cam(trained(), pixels, QUESTION, "backbone.trunk.8")
        assert focus(found, where) > 0.85


def test_grad_cam_is_its_formula_although_the_next_relu_works_in_place() -> None:
    of, (pixels, _) = trained(), planted(400)
    trunk = _layers(of)
    x = of.network.normalise(torch.from_numpy(pixels[None]))
    deep = trunk[:6](x).detach().requires_grad_()
    rest = trunk[7:](deep.relu()).mean(dim=(2, 3))
    of.network.heads["finding"](rest)[0, 1].backward()
    assert deep.grad is not None
    cam = (deep.grad.mean(dim=(2, 3), keepdim=True) * deep).sum(dim=1).relu()[0].detach().numpy()
    found = grad_cam(of, pixels, QUESTION, "backbone.trunk.5")
    places = found.shape[0] // cam.shape[0]
    averaged = found.reshape(cam.shape[0], places, cam.shape[1], places).mean(axis=(1, 3))
    assert np.corrcoef(averaged.ravel(), cam.ravel())[0, 1] > 0.97  # scaled up and averaged again


def test_guided_backpropagation_is_its_rule() -> None:
    of, (pixels, _) = trained(), planted(401)

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.relu()

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
            guided: Tensor = gradients[0].relu() * (x > 0)
            return guided

    given = torch.from_numpy(pixels[None]).float().requires_grad_()
    x = of.network.normalise(given)
    for layer in _layers(of):
        x = Guided.apply(x) if isinstance(layer, nn.ReLU) else layer(x)  # type: ignore[no-untyped-call]
    of.network.heads["finding"](x.mean(dim=(2, 3)))[0, 1].backward()
    assert given.grad is not None
    found = guided_backpropagation(of, pixels, QUESTION)
    np.testing.assert_allclose(found, given.grad[0].numpy(), rtol=1e-3, atol=1e-7)


def test_no_hook_gradient_or_mode_is_left_behind() -> None:
    of, (pixels, _) = untrained(), planted(0)
    of.network.train()
    before = of.network.state_dict()["backbone.trunk.1.running_mean"].clone()
    guided_grad_cam(of, pixels, QUESTION, "backbone.trunk.5")
    for module in of.network.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not module._backward_pre_hooks
    assert all(each.grad is None for each in of.network.parameters())
    assert of.network.training
    assert torch.equal(of.network.state_dict()["backbone.trunk.1.running_mean"], before)


def test_hooks_are_taken_away_when_the_network_is_refused_too() -> None:
    of = untrained(nn.SiLU)
    with pytest.raises(ConfigError):
        guided_backpropagation(of, plain(0), QUESTION)
    assert not any(each._forward_hooks or each._backward_hooks for each in of.network.modules())


@pytest.mark.parametrize(
    ("activation", "name"), [(nn.SiLU, "SiLU"), (nn.ReLU6, "ReLU6"), (nn.Hardswish, "Hardswish")]
)
def test_a_network_that_captum_cannot_guide_is_refused_by_the_name_of_what_it_has(
    activation: type[nn.Module], name: str
) -> None:
    of = untrained(activation)
    with pytest.raises(ConfigError, match=name):
        guided_backpropagation(of, plain(0), QUESTION)
    with pytest.raises(ConfigError, match=name):
        guided_grad_cam(of, plain(0), QUESTION, "backbone.trunk.8")
    assert grad_cam(of, plain(0), QUESTION, "backbone.trunk.8").shape == (SIZE, SIZE)


def test_a_relu_that_is_called_as_a_function_is_found_and_refused() -> None:
    of = untrained(hidden=8)  # its dense layer calls `.relu()`
    assert unguided_activations(of, plain(0), QUESTION) == ("ReLU called as a function",)
    with pytest.raises(ConfigError, match="called as a function"):
        guided_backpropagation(of, plain(0), QUESTION)


def test_maps_of_a_network_that_cannot_be_guided_come_without_guided_ones_and_with_a_remark() -> None:
    maps, remark = NetworkExplainer(untrained(nn.SiLU)).maps(plain(0), QUESTION, (), ())
    assert {look.method for look in maps} == {Method.GRAD_CAM}
    assert "SiLU" in remark
    maps, remark = NetworkExplainer(untrained()).maps(plain(0), QUESTION, (), ())
    assert {look.method for look in maps} == set(Method) - {Method.OCCLUSION}
    assert not remark


def test_an_unknown_layer_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"trunk\.8"):
        grad_cam(trained(), plain(0), QUESTION, "backbone.nowhere")


def test_a_mask_is_explained_by_the_pixels_that_it_marks() -> None:
    pytest.importorskip("timm")
    from scopeline_training.zoo import build

    mask = Head(name="polyp", role="mask", labels=("polyp",), threshold=0.5)
    plan = HeadPlan(name="polyp", role="mask", labels=("background", "polyp"), loss="bce_dice")
    network = build(NetworkPlan(backbone="unet_small"), [plan]).eval()
    of = TorchNetwork(network, (mask,), Input(width=64, height=64, crop=CropKind.BOX))
    found = grad_cam(of, np.full((64, 64, 3), 90, np.uint8), Question(mask, 0), of.layers[-1])
    assert found.shape == (64, 64)
    assert found.min() >= 0


def write_corner_bundle(folder: Path) -> Path:
    """A bundle whose `finding` is the mean red of the upper left quarter, whose other heads are constants."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["floats", "starts", "ends", "axes"], ["corner"]),
        helper.make_node("ReduceMean", ["corner"], ["mean"], axes=[1, 2], keepdims=0),
    ]
    slope = np.array([[0, 0.05], [0, 0], [0, 0]], np.float32)
    constants = [
        numpy_helper.from_array(np.array([0, 0, 0], np.int64), "starts"),
        numpy_helper.from_array(np.array([SIZE // 2, SIZE // 2, 1], np.int64), "ends"),
        numpy_helper.from_array(np.array([1, 2, 3], np.int64), "axes"),
        numpy_helper.from_array(slope[:1], "slope"),
        numpy_helper.from_array(np.array([0, -6], np.float32), "bias"),
        numpy_helper.from_array(np.zeros((1, 2), np.float32), "nothing"),
        numpy_helper.from_array(np.array([0, 3], np.float32), "good"),
    ]
    nodes.append(helper.make_node("Gemm", ["mean", "nothing", "good"], ["quality"]))
    nodes.append(helper.make_node("Gemm", ["mean", "slope", "bias"], ["finding"]))
    graph = helper.make_graph(
        nodes,
        "corner",
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2])
            for name in ("quality", "finding")
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    about = description(QUALITY, FINDING, name="corner", size=SIZE, crop=CropKind.BOX)
    return write_bundle(folder, about, network=model.SerializeToString(), card="For tests.\n").folder


def reddish() -> Pixels:
    """Bright red above left, dim elsewhere."""
    pixels = np.full((SIZE, SIZE, 3), 60, np.uint8)
    pixels[: SIZE // 2, : SIZE // 2, 0] = 220
    return pixels


def test_occlusion_finds_the_corner_that_the_answer_rests_on(tmp_path: Path) -> None:
    from scopeline.bundle import load_bundle

    backend = open_backend(
        "onnxruntime", load_bundle(write_corner_bundle(tmp_path)), threads=1, precision="fp32"
    )
    found = occlusion_map(backend, reddish(), QUESTION)
    backend.close()
    assert found[: SIZE // 2 - 8, : SIZE // 2 - 8].min() > 0
    assert np.abs(found[SIZE // 2 + 8 :]).max() == pytest.approx(0, abs=1e-5)
    assert np.abs(found[:, SIZE // 2 + 8 :]).max() == pytest.approx(0, abs=1e-5)


def test_log_odds_are_those_of_the_calibrated_probability() -> None:
    logits = np.array([[1.5, -0.3, 0.2, 4.0]], np.float32)
    warm = Head(name="mes", role="grade", labels=("0", "1", "2", "3"), temperature=1.7)
    for label, p in enumerate(warm.probabilities(logits[0]).astype(np.float64)):
        assert log_odds(logits, warm, label)[0] == pytest.approx(np.log(p / (1 - p)), abs=1e-5)


def test_a_bundle_is_explained_by_occlusion_and_says_that_it_has_no_gradients(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    write_png(picture, reddish())
    bundle = write_corner_bundle(tmp_path / "corner")
    told: list[str] = []
    (panel,) = explain_all(bundle, [picture], tmp_path / "out", wish=Wish(), say=told.append)
    assert panel.read_bytes().startswith(b"\x89PNG")
    assert "finding: patch" in told[0]
    assert "occlusion" in told[0]
    assert "Grad-CAM" not in told[0]
    with pytest.raises(ConfigError, match="needs gradients"):
        explain_all(bundle, [picture], tmp_path / "out", wish=Wish(methods=(Method.GRAD_CAM,)))


def test_head_and_label_can_be_chosen_and_wrong_ones_are_told(tmp_path: Path) -> None:
    explainer = NetworkExplainer(trained())
    picture = picture_from_rgb(planted(7)[0])
    explanation, _ = explain_picture(explainer, picture, Wish(head="finding", label="plain"))
    assert explanation.question == Question(FINDING, 0)
    with pytest.raises(ConfigError, match="finding"):
        explain_picture(explainer, picture, Wish(head="organ"))
    with pytest.raises(ConfigError, match="plain, patch"):
        explain_picture(explainer, picture, Wish(label="polyp"))


def test_key_frames_of_segments_are_explained_and_none_from_outside_the_body(tmp_path: Path) -> None:
    film = write_clip(
        tmp_path / "film.mp4", pixels=[np.full((96, 128, 3), 60 + 6 * n, np.uint8) for n in range(20)]
    )
    table = tmp_path / "segments.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["number", "location", "key_frame", "key_frame_s"],
             [1, "colon", 4, 0.16], [2, "outside", 9, 0.36], [3, "colon", "", ""], [4, "colon", 15, 0.6]]
        )  # fmt: skip
    bundle = write_corner_bundle(tmp_path / "corner")
    told: list[str] = []
    panels = explain_all(bundle, [film], tmp_path / "out", wish=Wish(), segments=table, say=told.append)
    assert [panel.name for panel in panels] == ["film-segment-01.png", "film-segment-04.png"]
    assert told[:2] == [f"segment {n}: no key frame that may be shown" for n in (2, 3)]


def test_heat_leaves_the_picture_as_it_is_where_a_map_is_nothing() -> None:
    from scopeline_training.explanation import LookMap

    values = np.zeros((SIZE, SIZE), np.float32)
    shown = plain(0)
    cold = overlaid(shown, LookMap(Method.GRAD_CAM, "x", values))
    values[10:20, 10:20] = 1
    hot = overlaid(shown, LookMap(Method.GRAD_CAM, "x", values))
    changed = (hot != cold).any(axis=2)
    assert changed[10:20, 10:20].all()
    assert changed.sum() == 100


def write_png(path: Path, pixels: Pixels) -> None:
    import cv2

    cv2.imwrite(str(path), pixels[..., ::-1])


def write_run(folder: Path, *, folds: bool = False) -> tuple[Path, TrainableNetwork]:
    """What `scopeline train` leaves behind, with a network that nobody has trained."""
    from scopeline.bundle import Training
    from scopeline_training.experiment import read_experiment
    from scopeline_training.run_bundle import save_bundle
    from scopeline_training.zoo import build

    folder.mkdir()
    (folder / "recipe.toml").write_text(
        'name = "run"\n[data]\nkind = "class_folders"\nroot = "nowhere"\n[input]\nsize = 64\ncrop = "box"\n'
        '[network]\nbackbone = "small"\nnormalise = "data"\n[[heads]]\nname = "quality"\nrole = "quality"\n'
        '[[heads]]\nname = "mes"\nrole = "grade"\nloss = "corn"\n'
    )
    experiment = read_experiment(folder / "recipe.toml")
    plan = NetworkPlan(backbone="small", normalise="data", mean=(0.6, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    heads = [
        HeadPlan(name="quality", role="quality", labels=("bad", "good")),
        HeadPlan(name="mes", role="grade", labels=("0", "1", "2"), loss="corn"),
    ]
    torch.manual_seed(5)
    network = build(plan, heads).eval()
    for fold, phase in ((0, "1-frozen"), (0, "2-all"), (1, "1-all")):
        place = folder / "fits" / f"fold-{fold:02d}" / phase
        place.mkdir(parents=True)
        kept = (fold, phase) == ((1, "1-all") if folds else (0, "2-all"))
        weights = {
            f"network.{key}": value if kept else value * 2 for key, value in network.state_dict().items()
        }
        torch.save({"state_dict": weights}, place / "best.ckpt")
    if folds:
        (folder / "folds.csv").write_text("fold,test loss,\n1,0.5,\n2,0.4,kept\n")
    save_bundle(
        folder / "bundle", network, experiment, heads, temperatures={"mes": 1.4}, card="For tests.\n",
        training=Training(recipe="run", command="", data="none", data_sha256="", seed=0),
    )  # fmt: skip
    return folder, network


@pytest.mark.parametrize("folds", [False, True])
def test_a_run_gives_back_the_very_network_of_its_bundle(tmp_path: Path, folds: bool) -> None:
    from scopeline.bundle import load_bundle
    from scopeline_training.run_network import network_of_run

    folder, _ = write_run(tmp_path / "run", folds=folds)
    bundle = load_bundle(folder / "bundle")
    backend = open_backend("onnxruntime", bundle, threads=1, precision="fp32")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    said, logits = network_of_run(folder).answers(pixels), backend.infer(pixels[None])
    backend.close()
    for head in bundle.heads:
        np.testing.assert_allclose(said[head.name], head.probabilities(logits[head.name][0]), atol=1e-5)


def test_a_run_and_its_checkpoints_are_explained_by_grad_cam(tmp_path: Path) -> None:
    folder, _ = write_run(tmp_path / "run")
    picture = tmp_path / "a.png"
    write_png(picture, reddish())
    told: list[str] = []
    for model in (folder, folder / "fits" / "fold-01" / "1-all" / "best.ckpt"):
        (panel,) = explain_all(model, [picture], tmp_path / "out", wish=Wish(head="mes"), say=told.append)
        assert panel.is_file()
    assert "Grad-CAM at backbone.trunk" in told[0]
    assert "ReLU called as a function" in told[1]  # the small network's residual blocks
    with pytest.raises(ConfigError, match="called as a function"):
        explain_all(folder, [picture], tmp_path / "out", wish=Wish(methods=(Method.GUIDED_BACKPROPAGATION,)))


def test_a_checkpoint_outside_of_a_run_is_refused(tmp_path: Path) -> None:
    lone = tmp_path / "best.ckpt"
    torch.save({"state_dict": {}}, lone)
    with pytest.raises(ConfigError, match="in the folder of a run"):
        explain_all(lone, [], tmp_path, wish=Wish())


def test_an_empty_map_says_that_it_is_empty(tmp_path: Path) -> None:
    from scopeline_training.explanation import NOTHING, LookMap
    from scopeline_training.explanation_panel import explanation_panel

    explanation, _ = explain_picture(NetworkExplainer(trained()), picture_from_rgb(plain(1)), Wish())
    empty = LookMap(Method.GRAD_CAM, "deep", np.zeros((SIZE, SIZE), np.float32))
    panel = explanation_panel(replace(explanation, maps=(empty,)), "plain")
    assert any(NOTHING[Method.GRAD_CAM] in axes.get_xlabel() for axes in panel.axes)


def test_an_answer_to_a_bad_picture_is_explained_with_a_warning(tmp_path: Path) -> None:
    _, network = write_run(tmp_path / "run")
    heads = (QUALITY, Head(name="mes", role="grade", labels=("0", "1", "2")))
    explainer = NetworkExplainer(TorchNetwork(network, heads, Input(width=64, height=64, crop=CropKind.BOX)))
    warned = []
    for good in (-9.0, 9.0):
        with torch.no_grad():
            network.heads["quality"].answer.bias.copy_(torch.tensor([-good, good]))  # type: ignore[operator, union-attr]
        _, remark = explain_picture(explainer, picture_from_rgb(reddish()), Wish(head="mes"))
        warned.append("an engine refuses this picture" in remark)
    assert warned == [True, False]
