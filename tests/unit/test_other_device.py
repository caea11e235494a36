"""What is computed on a device that is not the CPU: the same, and nothing is mixed."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed

from stylealign.inversion import fit_encoder, invert
from stylealign.metrics.features import collect_features, load_extractor
from stylealign.metrics.path_length import perceptual_path_length
from stylealign.metrics.perceptual import Lite2Blocks
from stylealign.models import Model, ModelConfig
from stylealign.models.frozen import frozen
from stylealign.models.latents import SPACES
from stylealign.morphing import morph
from stylealign.recipe import Recipe
from stylealign.training import Training, train
from stylealign.training.classes import Classes
from stylealign.training.split import Split
from stylealign.translation import translate
from tests.other_device import OTHER, OtherDevice, pretend, waits
from tests.unit.models.test_alias_free import small_generator

SIZE = 32
CLASSES = Classes("kind", torch.tensor([0.75, 0.25]))
TERMS: dict[str, Any] = {
    "style_mixing": 0.9, "layout_weight": 1.0, "feature_weight": 1.0, "style_weight": 1.0,
    "correspondence_weight": 1.0, "feature_max_resolution": 16, "part_size": 4,
}  # fmt: skip


@pytest.fixture
def device(monkeypatch):
    pretend(monkeypatch.setattr)
    with OtherDevice():
        yield OTHER


def new_model(*, c_dim: int = 0) -> Model:
    torch.manual_seed(0)
    widths = {4: 8, 8: 8, 16: 8, 32: 8}
    config = ModelConfig(
        resolution=SIZE, z_dim=8, w_dim=8, c_dim=c_dim, num_mapping_layers=2, channels=widths,
        noise=True,
    )  # fmt: skip
    return Model.new(config)


def new_images(num: int = 4) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (num, SIZE, SIZE, 3), dtype=np.uint8)


class _Batch:
    def __init__(self, rng: torch.Generator) -> None:
        self.images = torch.rand(8, 3, SIZE, SIZE, generator=rng) * 2 - 1
        self.labels = {"kind": torch.randint(2, (8,), generator=rng)}


class _Noise:
    """Real images that are noise."""

    position = 0

    def __next__(self) -> _Batch:
        self.position += 1
        return _Batch(torch.Generator().manual_seed(self.position))

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


def test_the_device_refuses_what_a_gpu_refuses(device):
    there = torch.randn(2, 3).to(device)

    with pytest.raises(RuntimeError, match="two devices"):
        there.add(torch.randn(2, 3))
    with pytest.raises(RuntimeError, match="generator of the CPU"):
        torch.randn(2, device=device, generator=torch.Generator())
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(there)
    assert torch.equal((there + 1).cpu(), there.cpu() + 1)


@pytest.mark.parametrize("space", SPACES)
def test_codes_are_found_and_drawn_as_on_the_cpu(space, device):
    here, there, images = new_model(), new_model().to(device), new_images()

    found = [invert(images, model, space=space, num_steps=3) for model in (here, there)]
    drawn = [
        translate(result.latents, model, truncation_psi=0.7, force=True)
        for result, model in zip(found, (here, there), strict=True)
    ]

    torch.testing.assert_close(found[1].latents.codes.cpu(), found[0].latents.codes)
    torch.testing.assert_close(found[1].psnr.cpu(), found[0].psnr)
    torch.testing.assert_close(drawn[1].cpu(), drawn[0])
    ends = found[1].latents, there
    frames = list(morph(*ends, *ends, num_frames=3, force=True))
    assert {str(frame.device) for frame in frames} == {device}


@pytest.mark.parametrize("architecture", ["stylegan3-t", "stylegan3-r"])
def test_stylegan3_draws_there_as_on_the_cpu(architecture, device, rng):
    here, z = small_generator(architecture), torch.randn(2, 8, generator=rng)
    there = copy.deepcopy(here).to(device)

    drawn = [generator(z.to(generator.w_avg)) for generator in (here, there)]

    torch.testing.assert_close(drawn[1].cpu(), drawn[0])


def test_a_conditional_model_is_inverted_there_as_on_the_cpu(device):
    here, there = (new_model(c_dim=2).to(place) for place in ("cpu", device))
    images, c = new_images(), torch.eye(2)[[0, 1, 1, 0]]

    found = [invert(images, model, c, space="w", num_steps=3) for model in (here, there)]

    torch.testing.assert_close(found[1].latents.codes.cpu(), found[0].latents.codes)
    assert fit_encoder(there, space="w", kimg=0.032, images=images).kimg == 0.032


def test_bfloat16_is_drawn_channels_last_there_to_the_same_numbers(device, rng):
    here, there = new_model().generator, new_model().to(device).generator
    w_plus = here.mapping(torch.randn(2, 8, generator=rng)).detach()
    images, gradients, taps = [], [], {}
    for generator in (here, there):
        w = w_plus.to(generator.w_avg).requires_grad_()
        with frozen(generator):
            drawn = generator.synthesis(w, taps=taps, precision="bfloat16")
            images.append(drawn.detach().cpu())
            gradients.append(torch.autograd.grad(drawn.square().sum(), w)[0].cpu())

    assert not any(maps.is_contiguous() for maps in taps.values())
    torch.testing.assert_close(images[1], images[0], rtol=0.02, atol=0.02 * float(images[0].std()))
    torch.testing.assert_close(
        gradients[1], gradients[0], rtol=0.05, atol=0.05 * float(gradients[0].std())
    )


def count_waits(compute: Callable[[], object]) -> int:
    before = len(waits)
    compute()
    return len(waits) - before


def test_reads_and_copies_are_what_a_gpu_is_waited_for(device):
    there = torch.randn(4).to(device)
    reads = [
        there.tolist, there.cpu, there.sum().item, there.nonzero, lambda: there[there > 0],
        lambda: bool((there > 0).any()), lambda: torch.zeros(4).to(device),
    ]  # fmt: skip

    assert all(count_waits(read) >= 1 for read in reads)
    assert count_waits(lambda: torch.where(there > 0, there + 1, there)[1:]) == 0


@pytest.mark.parametrize("use_noise", [False, True])
def test_no_step_of_an_inversion_waits_for_the_device(use_noise, device):
    model, images = new_model().to(device), new_images()

    def steps(num: int) -> int:
        return count_waits(
            lambda: invert(images, model, num_steps=num, use_noise_optimization=use_noise)
        )

    steps(1)  # brings the networks there
    assert steps(5) == steps(2)


def test_an_inversion_has_its_options_there(device):
    model, images = new_model().to(device), new_images()

    encoder = fit_encoder(model, space="w_plus", kimg=0.064, seed=0, images=images)
    found = invert(
        images, model,
        space="w_plus", start=encoder.predict(images), num_steps=3, noise_seed=3,
        use_noise_optimization=True, precision="bfloat16", batch_size=3,
    )  # fmt: skip

    assert str(found.latents.codes.device) == device
    assert found.psnr.cpu().isfinite().all()


@pytest.mark.parametrize(
    "changes",
    [
        {
            "pl_weight": 1.0,
            "pl_interval": 1,
            "r1_interval": 1,
            "augment": "bgcfnc",
            "augment_p": 0.5,
        },
        {"augment": "bgc", "augment_p": 0.5, "d_warmup_kimg": 0.008, **TERMS},
        {"freeze": ("mapping", "affine"), "freeze_d_layers": 1, "classes": "kind", **TERMS},
    ],
    ids=["regularised", "aligned", "conditional"],
)
def test_a_child_is_trained_and_goes_on_as_on_the_cpu(changes, device, tmp_path):
    recipe = Recipe(total_kimg=0.032, tick_kimg=0.008, snapshot_kimg=0.016, batch_size=8, **changes)
    classes = CLASSES if recipe.classes else None

    def begin(place: str) -> Training:
        parent, child = (new_model(c_dim=2 * bool(classes)).to(place) for _ in range(2))
        return Training(child, parent.generator, recipe, classes=classes)

    expected, stopped, resumed = begin("cpu"), begin(device), begin(device)
    file = tmp_path / "snapshot.safetensors"
    list(train(expected, _Noise()))
    list(train(stopped, _Noise(), snapshot=file, should_stop=lambda: stopped.kimg > 0.01))
    list(train(resumed, _Noise(), snapshot=file))

    assert (stopped.kimg, resumed.kimg) == (0.016, 0.032)
    for name, weight in resumed.G_ema.state_dict().items():
        torch.testing.assert_close(weight.cpu(), expected.G_ema.state_dict()[name])


def test_what_processes_exchange_lies_there(device, monkeypatch, tmp_path):
    def exchange(tensor, **_):
        """Of one process with itself; NCCL takes no tensor of the CPU, and none with gaps."""
        assert str(tensor.device) == device
        assert tensor.is_contiguous()

    def gather(received, tensor):
        exchange(tensor)
        for one in received:
            one.copy_(tensor)

    monkeypatch.setattr(distributed, "all_reduce", exchange)
    monkeypatch.setattr(distributed, "broadcast", exchange)
    monkeypatch.setattr(distributed, "all_gather", gather)
    recipe = Recipe(
        total_kimg=0.032, tick_kimg=0.016, snapshot_kimg=0.016, batch_size=16, augment="bgc",
        augment_p=0.5, classes="kind", pl_weight=1.0, pl_interval=1, r1_interval=1, **TERMS,
    )  # fmt: skip
    parent, child = (new_model(c_dim=2).to(device) for _ in range(2))
    training = Training(child, parent.generator, recipe, split=Split(0, 2), classes=CLASSES)

    ticks = list(train(training, _Noise(), snapshot=tmp_path / "snapshot.safetensors"))

    assert [tick.kimg for tick in ticks] == [0.016, 0.032]


def test_images_are_measured_there(device):
    here, there, look = new_model(), new_model().to(device), Lite2Blocks(num_blocks=1)
    extractor = load_extractor("lite2", resolution=SIZE)

    lengths = [
        perceptual_path_length(
            model.generator, look, num_paths=4, rng=torch.Generator().manual_seed(0)
        )
        for model in (here, there)
    ]
    features = [collect_features([new_images()], extractor, device=d) for d in ("cpu", device)]

    assert lengths[1] == pytest.approx(lengths[0])
    np.testing.assert_allclose(features[1], features[0], rtol=1e-4, atol=1e-5)
