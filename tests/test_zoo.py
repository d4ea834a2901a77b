"""Zoo: every network answers every question, sizes are those of its source, and freezing freezes what it says."""

import copy
import socket
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scopeline_training.zoo", reason="the zoo needs scopeline[training]")

import torch
from torch import Tensor, nn

from scopeline.errors import ConfigError
from scopeline_training.imagenet import weights_file
from scopeline_training.network_plan import HeadPlan, Loss, NetworkPlan, Normalisation
from scopeline_training.timm_backbone import create
from scopeline_training.trainable_network import TrainableNetwork
from scopeline_training.zoo import backbone_names, build, build_dual, usual_size

QUALITY = HeadPlan(name="quality", role="quality", labels=("bad", "good"))
ORGAN = HeadPlan(name="organ", role="location", labels=("ear", "nose", "vocal folds"))
MES = HeadPlan(name="mes", role="grade", labels=("0", "1", "2", "3"), loss="corn")
POLYP = HeadPlan(name="polyp", role="mask", labels=("background", "polyp"), loss="bce_dice")
KVASIR = HeadPlan(name="finding", labels=("esophagitis", "polyps", "ulcerative colitis"))
S3 = NetworkPlan(backbone="mobilenetv2", hidden=256, hidden_l2=1e-4, dropout=0.3)
PLACES = NetworkPlan(backbone="small", inputs=("colon", "rectum"), normalise="sample_std")


def pictures(count: int = 2, size: int = 64, seed: int = 0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def count(module: nn.Module) -> int:
    return sum(each.numel() for each in module.parameters())


def learning(module: nn.Module) -> list[str]:
    return [name for name, each in module.named_parameters() if each.requires_grad]


def on_paper(plan: NetworkPlan, head: HeadPlan) -> TrainableNetwork:
    """A network whose weights have shapes and no values: a big one is built in little time, and once."""
    return copy.deepcopy(_built(plan, head))


@cache
def _built(plan: NetworkPlan, head: HeadPlan) -> TrainableNetwork:
    with torch.device("meta"):
        return build(plan, [head])


LIGHT = [
    name for name in backbone_names() if name not in ("vgg16", "resnet50", "densenet121", "inception_v3")
]


@pytest.mark.parametrize("backbone", LIGHT)
def test_one_pass_answers_quality_organ_and_grade_and_all_of_it_learns(backbone: str) -> None:
    torch.manual_seed(0)
    heads = [QUALITY, ORGAN, MES]
    if backbone.startswith("unet"):
        heads.append(POLYP)
    network = build(NetworkPlan(backbone=backbone), heads)
    answers = network(pictures())
    shapes = {name: tuple(each.shape) for name, each in answers.items()}
    wanted = {"quality": (2, 2), "organ": (2, 3), "mes": (2, 4), "polyp": (2, 1, 64, 64)}
    assert shapes == {head.name: wanted[head.name] for head in heads}
    assert [output.name for output in network.outputs] == list(answers)
    torch.stack([each.square().mean() for each in answers.values()]).sum().backward()  # type: ignore[no-untyped-call]
    assert [name for name, each in network.named_parameters() if each.grad is None] == []


@pytest.mark.parametrize("backbone", backbone_names())
def test_every_backbone_answers_at_its_usual_size_and_its_layers_to_look_at_give_a_map_each(
    backbone: str,
) -> None:
    size = usual_size(backbone)
    network = on_paper(NetworkPlan(backbone=backbone), POLYP if backbone.startswith("unet") else KVASIR)
    sides: list[int] = []
    for name in network.cam_layers:
        network.get_submodule(name).register_forward_hook(
            lambda module, given, made: sides.append(made.shape[-1]) if made.ndim == 4 else None
        )
    answers = network(pictures(size=size).to("meta"))
    assert next(iter(answers.values())).shape in ((2, 3), (2, 1, size, size))
    assert len(sides) == len(network.cam_layers) > 0


@pytest.mark.parametrize(
    ("backbone", "millions"),
    # Without the last layer: the counts of the papers' reference implementations.
    [
        ("efficientnet_b0", 4.007548), ("mobilenetv2", 2.223872), ("resnet50", 23.508032),
        ("densenet121", 6.953856), ("vgg16", 14.714688), ("inception_v3", 21.785568),
    ],
)  # fmt: skip
def test_backbones_have_the_parameters_of_their_reference(backbone: str, millions: float) -> None:
    network = on_paper(NetworkPlan(backbone=backbone), KVASIR)
    assert count(network.backbone) == round(millions * 1e6)


def test_mobilenetv2_with_the_head_of_study_s3_has_its_parameters() -> None:
    network = on_paper(S3, KVASIR)
    assert count(network.heads) == (1280 * 256 + 256) + (256 * 3 + 3)
    running = sum(each.numel() for name, each in network.backbone.named_buffers() if "running" in name)
    assert count(network.backbone) + running == 2_257_984  # as Keras counts it without its top
    assert count(network) + running == 2_257_984 + 328_707


def test_the_dense_layer_of_study_s3_decays_by_its_own_l2() -> None:
    network = on_paper(S3, KVASIR)
    groups = network.parameter_groups(0.02)
    assert [group["weight_decay"] for group in groups] == [0.02, 0.0, 2e-4]
    assert [tuple(each.shape) for each in groups[2]["params"]] == [(256, 1280)]
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_a_decay_of_twice_the_l2_has_the_gradient_of_the_penalty() -> None:
    torch.manual_seed(0)
    network = build(NetworkPlan(backbone="small", hidden=8, hidden_l2=0.01, dropout=0.0), [QUALITY])
    group = network.parameter_groups(0.0)[2]
    (dense,) = group["params"]
    (penalty,) = torch.autograd.grad(0.01 * dense.square().sum(), dense)
    torch.testing.assert_close(penalty, group["weight_decay"] * dense)


def test_the_unet_of_study_s4_has_its_parameters() -> None:
    network = on_paper(NetworkPlan(backbone="unet", normalise="unit"), POLYP)
    assert count(network) == 1_941_105  # as Keras counts the model the study names


def test_a_unet_refuses_sizes_it_cannot_halve() -> None:
    network = build(NetworkPlan(backbone="unet"), [POLYP])
    with pytest.raises(ValueError, match="multiples of 16, got 100x100"):
        network(pictures(size=100))


def test_inception_adds_its_auxiliary_answer_while_training_only() -> None:
    network = on_paper(NetworkPlan(backbone="inception_v3"), KVASIR)
    given = pictures(size=299).to("meta")
    assert list(network(given)) == ["finding", "finding.auxiliary"]
    auxiliary = network.outputs[1]
    assert (auxiliary.head, auxiliary.weight, auxiliary.while_training) == ("finding", 0.3, True)
    assert list(network.eval()(given)) == ["finding"]
    with pytest.raises(ValueError, match="set the input size to 299"):
        network.train()(pictures(size=224).to("meta"))


def test_normalisations_are_their_formulas() -> None:
    given = pictures(3)
    wide = given.numpy().astype(np.float64)
    mean, std = (0.1881, 0.2, 0.3), (0.1850, 0.1, 0.2)
    wanted: dict[Normalisation, np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = {
        "imagenet": (wide / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        "unit": wide / 255,
        "sample_std": np.stack([each / each.std() for each in wide]),
        "data": (wide / 255 - mean) / std,
    }
    for normalise, formula in wanted.items():
        plan = NetworkPlan(backbone="small", normalise=normalise)
        if normalise == "data":
            plan = NetworkPlan(backbone="small", normalise=normalise, mean=mean, std=std)
        found = build(plan, [QUALITY]).normalise(given)
        np.testing.assert_allclose(found.numpy(), formula.transpose(0, 3, 1, 2), rtol=2e-5, atol=2e-5)


def test_a_black_picture_stays_black_under_sample_std() -> None:
    network = build(NetworkPlan(backbone="small", normalise="sample_std"), [QUALITY])
    assert network.normalise(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)).abs().max() == 0


def test_imagenet_normalisation_is_the_one_the_backbone_was_trained_with() -> None:
    network = on_paper(NetworkPlan(backbone="inception_v3"), KVASIR)
    assert network.backbone.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (NetworkPlan(normalise="data", backbone="small"), "needs mean and std"),
        (NetworkPlan(mean=(0.5,) * 3, std=(0.5,) * 3, backbone="small"), "needs mean and std"),
        (NetworkPlan(backbone="resnet51"), "no backbone 'resnet51'; there are efficientnet_b0"),
        (NetworkPlan(backbone="small", weights="imagenet"), "nobody has ImageNet weights of 'small'"),
        (NetworkPlan(backbone="mobilenetv3_small", weights="gone.pth"), "found no file at gone.pth"),
        (NetworkPlan(backbone="small", inputs=("colon", "rectum")), "built by build_dual"),
    ],
)
def test_plans_that_make_no_sense_are_refused(plan: NetworkPlan, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(plan, [QUALITY])


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        ([], "at least one"),
        ([QUALITY, QUALITY], "name of its own"),
        ([HeadPlan(name="a.b", labels=("x", "y"))], "without a dot"),
        ([HeadPlan(name="organ", labels=("colon",))], "two or more labels"),
        ([POLYP], "starts with 'unet'"),
        ([HeadPlan(name="mes", labels=("0", "1"), loss="bce")], "are for masks"),
    ],
)
def test_heads_that_make_no_sense_are_refused(heads: list[HeadPlan], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(NetworkPlan(backbone="small"), heads)


@pytest.mark.parametrize("loss", ["cross_entropy", "cdw_ce", "corn", "regression"])
def test_every_ordinal_head_gives_one_logit_per_label(loss: Loss) -> None:
    head = HeadPlan(name="mes", role="grade", labels=("0", "1", "2", "3"), loss=loss)
    assert build(NetworkPlan(backbone="small"), [head])(pictures())["mes"].shape == (2, 4)


def test_a_frozen_backbone_does_not_change_and_the_heads_do() -> None:
    torch.manual_seed(0)
    network = build(NetworkPlan(backbone="small"), [QUALITY])
    network.freeze_backbone()
    network.train()
    before = {name: each.clone() for name, each in network.state_dict().items()}
    optimiser = torch.optim.Adam(network.parameters(), lr=0.1, weight_decay=0.1)
    network(pictures(8))["quality"][:, 0].sum().backward()
    optimiser.step()
    changed = {name for name, each in network.state_dict().items() if not torch.equal(each, before[name])}
    assert changed == {"heads.quality.answer.weight", "heads.quality.answer.bias"}


def test_a_batch_norm_learns_its_statistics_exactly_where_it_learns() -> None:
    network = build(NetworkPlan(backbone="small"), [QUALITY])
    network.unfreeze("7")
    network.train()
    before = {name: each.clone() for name, each in network.named_buffers() if "running_mean" in name}
    network(pictures(8))
    moved = {name.split(".")[2] for name, each in network.named_buffers()
             if name in before and not torch.equal(each, before[name])}  # fmt: skip
    assert moved == {"7", "8", "9", "10"}


def test_unfreezing_all_lets_all_learn_again() -> None:
    network = build(NetworkPlan(backbone="small"), [QUALITY])
    network.freeze_backbone()
    network.unfreeze(None)
    assert learning(network) == [name for name, _ in network.named_parameters()]
    assert all(module.training for module in network.modules())


def test_parameter_130_of_resnet50_is_the_first_of_layer4_as_in_study_s2() -> None:
    network = on_paper(NetworkPlan(backbone="resnet50"), KVASIR)
    network.unfreeze(130)
    by_number = learning(network)
    network.unfreeze("layer4")
    assert by_number == learning(network)
    assert {name.split(".")[2] for name in by_number if name.startswith("backbone")} == {"layer4"}
    assert any(name.startswith("heads") for name in by_number)


def test_inception_learns_in_the_parts_of_study_s2() -> None:
    network = on_paper(NetworkPlan(backbone="inception_v3"), KVASIR)
    network.unfreeze_only("Mixed_6e", "Mixed_7b", "Mixed_7c")
    numbers = [
        number for number, each in enumerate(network.backbone.trunk.parameters(), start=1) if each.requires_grad
    ]  # fmt: skip
    # The study counts to 292: 8 of the auxiliary answer lie at 211 to 218, 2 of the last layer at the end.
    assert numbers == [*range(181, 211), *range(237 - 8, 291 - 8)]


def test_freezing_a_unet_leaves_its_decoder_learning() -> None:
    network = on_paper(NetworkPlan(backbone="unet_mobilenetv3_small_050"), POLYP)
    network.freeze_backbone()
    assert {name.split(".")[1] for name in learning(network)} == {"steps", "polyp"}


@pytest.mark.parametrize(
    ("layer", "said"), [("layer9", "no layer 'layer9'"), (0, "1 to 51"), (76, "1 to 51")]
)
def test_a_layer_that_is_not_there_is_refused(layer: int | str, said: str) -> None:
    network = build(NetworkPlan(backbone="small"), [QUALITY])
    with pytest.raises(ConfigError, match=said):
        network.unfreeze(layer)


def test_a_dual_network_judges_each_picture_alone_and_both_together() -> None:
    torch.manual_seed(0)
    network = build_dual(PLACES, HeadPlan(name="mes", role="grade", labels=("0", "1"))).eval()
    colon, rectum = pictures(seed=1), pictures(seed=2)
    answers = network(colon, rectum)
    assert {name: tuple(each.shape) for name, each in answers.items()} == {
        "colon": (2, 2), "rectum": (2, 2), "fused": (2, 2)
    }  # fmt: skip
    assert [(output.name, output.head) for output in network.outputs] == [
        ("colon", "mes"), ("rectum", "mes"), ("fused", "mes")
    ]  # fmt: skip
    swapped = network(rectum, colon)
    torch.testing.assert_close(swapped["colon"], answers["rectum"])  # one encoder, one auxiliary answer
    assert not torch.allclose(swapped["fused"], answers["fused"])


def test_a_dual_network_on_vgg16_has_the_parameters_of_study_s1() -> None:
    plan = NetworkPlan(backbone="vgg16", normalise="sample_std", dropout=0.0, inputs=("colon", "rectum"))
    with torch.device("meta"):
        network = build_dual(plan, HeadPlan(name="mes", labels=("0", "1")))
    assert count(network) == 14_714_688 + (512 * 2 + 2) + (1024 * 2 + 2)


def test_all_three_losses_of_a_dual_network_reach_the_encoder() -> None:
    network = build_dual(PLACES, HeadPlan(name="mes", labels=("0", "1")))
    stem = next(network.backbone.parameters())
    answers = network(pictures(seed=1), pictures(seed=2))
    for each in answers.values():
        (gradient,) = torch.autograd.grad(each.square().sum(), stem, retain_graph=True)
        assert gradient.abs().max() > 0


def test_the_same_picture_twice_is_refused_and_named() -> None:
    network = build_dual(PLACES, HeadPlan(name="mes", labels=("0", "1")))
    colon, rectum = pictures(3, seed=1), pictures(3, seed=2)
    rectum[1] = colon[1]
    with pytest.raises(ValueError, match=r"the same one twice in pairs \[1\]; use forward_alone"):
        network(colon, rectum)
    with pytest.raises(ValueError, match="as many pictures of colon as of rectum"):
        network(colon, rectum[:2])


def test_one_picture_alone_is_answered_when_asked_for_and_nothing_is_fused() -> None:
    network = build_dual(PLACES, HeadPlan(name="mes", labels=("0", "1"))).eval()
    colon, rectum = pictures(seed=1), pictures(seed=2)
    alone = network.forward_alone(colon, "colon")
    assert list(alone) == ["colon"]
    torch.testing.assert_close(alone["colon"], network(colon, rectum)["colon"])
    with pytest.raises(ValueError, match="colon and rectum, got 'ileum'"):
        network.forward_alone(colon, "ileum")


@pytest.mark.parametrize("inputs", [None, ("colon", "colon"), ("colon", "fused")])
def test_a_dual_network_without_two_places_is_refused(inputs: tuple[str, str] | None) -> None:
    with pytest.raises(ConfigError, match="two pictures with names of their own"):
        build_dual(NetworkPlan(backbone="small", inputs=inputs), HeadPlan(name="mes", labels=("0", "1")))


@pytest.mark.parametrize("backbone", ["mobilenetv3_small_050", "unet_mobilenetv3_small_050"])
def test_weights_of_a_file_arrive_in_the_backbone(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = create("mobilenetv3_small_050", None)
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    head = POLYP if backbone.startswith("unet") else QUALITY
    torch.manual_seed(1)
    network = build(NetworkPlan(backbone=backbone, weights=str(tmp_path / "weights.pth")), [head])
    wanted = source.state_dict()["blocks.3.0.conv_pw.weight"]
    found = {
        name: each
        for name, each in network.backbone.trunk.state_dict().items()
        if "blocks.3.0.conv_pw.w" in name
    }
    assert [torch.equal(each, wanted) for each in found.values()] == [True]


def test_a_hub_that_is_not_there_is_said_at_once() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(ConfigError, match=r"cannot be reached.*--weights FILE"):
            weights_file("mobilenetv3_small_050", "imagenet", endpoint=address)


def test_a_hub_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scopeline_training.imagenet.PATIENCE_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        before = time.monotonic()
        with pytest.raises(ConfigError, match="cannot be reached"):
            weights_file("mobilenetv3_small_050", "imagenet", endpoint=address)
        assert time.monotonic() - before < 20
