"""Published networks around random weights: their layout, their features, and files refused."""

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from stylealign.errors import CheckpointError, ParamsError
from stylealign.metrics.features import (
    InceptionExtractor,
    Vgg16Extractor,
    load_extractor,
    metric_name,
    resize,
)
from stylealign.metrics.inception import Inception
from stylealign.metrics.perceptual import perceptual_distance
from stylealign.metrics.published import WeightsFile, load_published
from stylealign.metrics.vgg16 import Vgg16, Vgg16Blocks, load_vgg16
from stylealign.tensors import to_float

INCEPTION_LAYOUT = "bd04e829988dd22dd0bbf9e499a87af311ed57c1b4309a9d20a907d8ed4123d4"
"""sha256 of the lines `name [shape]` of the state dict that pytorch-fid 0.3.0 builds and fills
from `pt_inception-2015-12-05-6726825d.pth`, sorted, counters of batch norms left out."""
VGG16_LAYOUT = "26a44a8d3cab16c67a2e446a90410ce627919f48ca28949d4a95f218ccda926f"
"""The same of torchvision 0.29.1's vgg16."""

Tensors = dict[str, torch.Tensor]


def layout(network: nn.Module) -> str:
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    lines = [f"{name} {shape}" for name, shape in sorted(shapes.items()) if "num_batch" not in name]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def random_weights(network: nn.Module) -> Tensors:
    """Weights under which features stay of one size; deviations of batch norms are positive."""
    rng, weights = torch.Generator().manual_seed(0), Tensors()
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            scale = (2.0 / tensor[0].numel()) ** 0.5
            weights[name] = torch.randn(tensor.shape, generator=rng) * scale
        elif not name.endswith("num_batches_tracked"):
            weights[name] = torch.rand(tensor.shape, generator=rng) + 0.5
    return weights


def written(folder: Path, tensors: object, name: str = "weights.pth") -> WeightsFile:
    path = folder / name
    if path.suffix == ".safetensors":
        assert isinstance(tensors, dict)
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return named(path)


def named(path: Path) -> WeightsFile:
    return WeightsFile(path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def noise(num_images: int, resolution: int) -> np.ndarray:
    shape = (num_images, resolution, resolution, 3)
    return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)


def on_meta(build: type[nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def test_both_networks_have_the_tensors_of_the_published_state_dicts():
    assert layout(on_meta(Inception)) == INCEPTION_LAYOUT
    assert layout(on_meta(Vgg16)) == VGG16_LAYOUT


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensors, WeightsFile]:
    weights = random_weights(on_meta(Inception))
    return weights, written(tmp_path_factory.mktemp("inception"), weights)


def inception_by_hand(weights: Tensors, images: torch.Tensor) -> torch.Tensor:
    """Straight-line forward pass by tensor names, after Szegedy et al., figures 5 to 7 and 10."""

    def step(x: torch.Tensor, name: str, stride: int = 1, *, valid: bool = False) -> torch.Tensor:
        kernel = weights[f"{name}.conv.weight"]
        padding = 0 if valid else (kernel.shape[2] // 2, kernel.shape[3] // 2)
        x = functional.conv2d(x, kernel, stride=stride, padding=padding)
        mean, variance, scale, shift = (
            weights[f"{name}.bn.{key}"][:, None, None]
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        return ((x - mean) / (variance + 1e-3).sqrt() * scale + shift).clamp(min=0)

    def chain(x: torch.Tensor, *names: str) -> torch.Tensor:
        for name in names:
            x = step(x, name)
        return x

    def average(x: torch.Tensor) -> torch.Tensor:
        total = functional.avg_pool2d(x, 3, 1, 1, divisor_override=1)
        return total / functional.avg_pool2d(torch.ones_like(x), 3, 1, 1, divisor_override=1)

    x = functional.interpolate(images, (299, 299), mode="bilinear", align_corners=False)
    x = step(step(x, "Conv2d_1a_3x3", 2, valid=True), "Conv2d_2a_3x3", valid=True)
    x = functional.max_pool2d(step(x, "Conv2d_2b_3x3"), 3, 2)
    x = functional.max_pool2d(step(step(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3", valid=True), 3, 2)
    for b in ("Mixed_5b.branch", "Mixed_5c.branch", "Mixed_5d.branch"):
        five = chain(x, f"{b}5x5_1", f"{b}5x5_2")
        three = chain(x, f"{b}3x3dbl_1", f"{b}3x3dbl_2", f"{b}3x3dbl_3")
        x = torch.cat([step(x, f"{b}1x1"), five, three, step(average(x), f"{b}_pool")], 1)
    b = "Mixed_6a.branch"
    three = step(chain(x, f"{b}3x3dbl_1", f"{b}3x3dbl_2"), f"{b}3x3dbl_3", 2, valid=True)
    x = torch.cat([step(x, f"{b}3x3", 2, valid=True), three, functional.max_pool2d(x, 3, 2)], 1)
    for b in ("Mixed_6b.branch", "Mixed_6c.branch", "Mixed_6d.branch", "Mixed_6e.branch"):
        seven = chain(x, *(f"{b}7x7_{n}" for n in (1, 2, 3)))
        double = chain(x, *(f"{b}7x7dbl_{n}" for n in (1, 2, 3, 4, 5)))
        x = torch.cat([step(x, f"{b}1x1"), seven, double, step(average(x), f"{b}_pool")], 1)
    b = "Mixed_7a.branch"
    three = step(step(x, f"{b}3x3_1"), f"{b}3x3_2", 2, valid=True)
    seven = step(chain(x, *(f"{b}7x7x3_{n}" for n in (1, 2, 3))), f"{b}7x7x3_4", 2, valid=True)
    x = torch.cat([three, seven, functional.max_pool2d(x, 3, 2)], 1)
    for b in ("Mixed_7b.branch", "Mixed_7c.branch"):
        pooled = average(x) if b.startswith("Mixed_7b") else functional.max_pool2d(x, 3, 1, 1)
        three, double = step(x, f"{b}3x3_1"), chain(x, f"{b}3x3dbl_1", f"{b}3x3dbl_2")
        forks = [step(three, f"{b}3x3_2{c}") for c in "ab"]
        forks += [step(double, f"{b}3x3dbl_3{c}") for c in "ab"]
        x = torch.cat([step(x, f"{b}1x1"), *forks, step(pooled, f"{b}_pool")], 1)
    return x.mean((2, 3))


def test_inception_features_equal_a_straight_line_pass_by_tensor_names(inception):
    weights, file = inception
    extractor = load_extractor("inception", resolution=299, weights=file)
    images = to_float(noise(2, 64))

    with torch.inference_mode():
        features, expected = extractor(images), inception_by_hand(weights, images)

    assert isinstance(extractor, InceptionExtractor)
    assert features.shape == (2, 2048)
    assert torch.allclose(features, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))
    assert metric_name("fd", extractor, 50_000) == "fd_inception_50k"


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tensors, WeightsFile]]:
    weights = random_weights(on_meta(Vgg16))
    file = written(tmp_path_factory.mktemp("vgg16"), weights, "weights.safetensors")
    yield weights, file
    load_vgg16.cache_clear()
    Path(file.path).unlink()  # half a gigabyte


def vgg16_by_hand(weights: Tensors, images: torch.Tensor) -> list[torch.Tensor]:
    """The maps before each pooling, and what comes out at the end."""
    colour = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    x = ((images + 1) / 2 - colour[0]) / colour[1]
    maps: list[torch.Tensor] = []
    for group in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
        for number in group:
            kernel, bias = (weights[f"features.{number}.{key}"] for key in ("weight", "bias"))
            x = functional.conv2d(x, kernel, bias, padding=1).clamp(min=0)
        maps.append(x)
        x = functional.max_pool2d(x, 2)
    return [*maps, x]


@pytest.mark.slow  # half a gigabyte of weights
def test_vgg16_has_the_features_and_the_maps_of_its_formula(vgg16):
    weights, file = vgg16
    extractor, look = (
        load_extractor("vgg16", resolution=224, weights=file),
        Vgg16Blocks(weights=file),
    )
    images = to_float(noise(1, 64))

    with torch.inference_mode():
        features, maps = extractor(images), look(images)
        hidden = vgg16_by_hand(weights, resize(images, 224))[-1].flatten(1)
        for layer in ("classifier.0", "classifier.3"):
            linear = functional.linear(
                hidden, *(weights[f"{layer}.{k}"] for k in ("weight", "bias"))
            )
            hidden = linear.clamp(min=0)
        expected = vgg16_by_hand(weights, images)[:-1]

    assert isinstance(extractor, Vgg16Extractor)
    assert torch.allclose(features, hidden, rtol=1e-4, atol=1e-4)
    assert features.shape == (1, 4096)
    assert [map_.shape[1] for map_ in maps] == [64, 128, 256, 512, 512]
    for own, by_hand in zip(maps, expected, strict=True):
        unit = by_hand / by_hand.square().sum(1, keepdim=True).sqrt().clamp(min=1e-3)
        assert torch.allclose(own, unit, atol=1e-4)
    assert perceptual_distance(maps, maps).item() == 0


def tiny() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("has_counter", [True, False])
def test_weights_are_taken_from_either_kind_of_file_with_or_without_counters(
    tmp_path, name, has_counter
):
    network = tiny().eval()
    weights = network.state_dict()
    if not has_counter:
        del weights["1.num_batches_tracked"]

    loaded = load_published(tiny, written(tmp_path, weights, name))

    images = to_float(noise(1, 8))
    assert torch.equal(loaded(images), network(images))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_the_place_of_weights_may_be_given_as_text(tmp_path):
    file = written(tmp_path, tiny().state_dict())

    load_published(tiny, WeightsFile(path=str(file.path), sha256=file.sha256))


class Trap:
    """What a pickle would run."""

    def __reduce__(self):
        """Make a file in the working folder."""
        return (Path("trapped").touch, ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("1.bias"), r"lacks tensor '1.bias' of shape \[4\]"),
        (lambda w: w.update({"0.bias": torch.zeros(5)}), r"'0.bias' has shape \[5\] .* \[4\]"),
        (lambda w: w.update({"0.bias": torch.zeros(4).half()}), "type torch.float16, expected"),
        (lambda w: w["0.weight"].fill_(float("nan")), "'0.weight' holds NaN"),
        (lambda w: w.update({"2.weight": torch.zeros(1)}), "unknown tensor '2.weight'"),
        (lambda w: w.update({"0.bias": "four"}), "lacks tensor '0.bias'"),
    ],
)
def test_tensors_of_another_network_are_refused_by_name(tmp_path, change, message):
    weights = {name: tensor.clone() for name, tensor in tiny().state_dict().items()}
    change(weights)

    with pytest.raises(CheckpointError, match=message):
        load_published(tiny, written(tmp_path, weights))


def test_a_missing_file_and_a_file_of_another_hash_are_refused(tmp_path):
    good = written(tmp_path, tiny().state_dict())

    with pytest.raises(CheckpointError, match="expected '0000"):
        load_published(tiny, WeightsFile(path=good.path, sha256="0" * 64))
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        load_published(tiny, WeightsFile(path=tmp_path / "none.pth", sha256="0" * 64))


def test_no_code_of_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trap = written(tmp_path, {"0.weight": Trap()})

    with pytest.raises(CheckpointError, match="no state dict that can be read without running"):
        load_published(tiny, trap)

    assert not Path("trapped").exists()


def test_torchscript_is_refused_as_the_program_it_is(tmp_path):
    path = tmp_path / "inception-2015-12-05.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inception/code/__torch__/net.py", "def forward(self): ...")
        archive.writestr("inception/data.pkl", b"")

    with pytest.raises(CheckpointError, match="are TorchScript, a program, and are not run"):
        load_published(tiny, named(path))


@pytest.mark.parametrize("content", [b"", b"junk", b"\x80\x02"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(tmp_path, content, suffix):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match="no state dict that can be read"):
        load_published(tiny, named(path))


def test_a_file_that_holds_no_tensors_by_name_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="hold 'list', expected tensors by name"):
        load_published(tiny, written(tmp_path, [torch.zeros(1)]))


def test_extractors_ask_for_weights_and_for_the_size_they_are_defined_at(tmp_path):
    file = written(tmp_path, tiny().state_dict())

    with pytest.raises(ParamsError, match="'inception' needs weights of your own"):
        load_extractor("inception", resolution=299)
    with pytest.raises(ParamsError, match="is 64, expected 224"):
        load_extractor("vgg16", resolution=64, weights=file)
    with pytest.raises(ParamsError, match="'lite2' has weights of its own"):
        load_extractor("lite2", resolution=64, weights=file)
    with pytest.raises(CheckpointError, match=r"lacks tensor 'Conv2d_1a_3x3\.conv\.weight'"):
        load_extractor("inception", resolution=299, weights=file)


def test_features_of_other_weights_have_another_hash():
    first, second = (WeightsFile(path=Path("w"), sha256=c * 64) for c in "ab")
    moved = WeightsFile(path=Path("elsewhere"), sha256="a" * 64)

    hashes = [Vgg16Extractor(weights=file).hash for file in (first, second, moved)]

    assert hashes[0] != hashes[1]
    assert hashes[0] == hashes[2]
    assert hashes[0] != InceptionExtractor(weights=first).hash
