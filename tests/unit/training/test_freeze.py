"""Which weights a recipe keeps, and which models can be trained at all."""

import pytest
import torch

from stylealign.errors import ParamsError
from stylealign.models import Model, ModelConfig
from stylealign.models.bands import AliasFreeConfig
from stylealign.recipe import Recipe
from stylealign.training import Training
from stylealign.training.freeze import freeze_generator
from stylealign.training.steps import train_step

CONFIG = ModelConfig(
    resolution=16, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8, 16: 8},
    mbstd_group_size=2,
)  # fmt: skip
ALIAS_FREE = ModelConfig(
    architecture="stylegan3-t", resolution=16, z_dim=4, w_dim=4, num_mapping_layers=2,
    alias_free=AliasFreeConfig(channels=(8, 8, 6, 6, 3)), noise=False,
    discriminator_channels={4: 8, 8: 8, 16: 8},
)  # fmt: skip


@pytest.mark.parametrize(("num", "kept"), [(0, ()), (1, ("b16",)), (2, ("b16", "b8"))])
def test_freezing_discriminator_layers_keeps_exactly_the_blocks_of_highest_resolution(num, kept):
    torch.manual_seed(0)
    recipe = Recipe(total_kimg=1, batch_size=4, freeze_d_layers=num, d_lr=0.01)
    training = Training(Model.new(CONFIG), None, recipe)
    before = {name: value.clone() for name, value in training.D.named_parameters()}
    real = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    for _ in range(2):
        train_step(training, real)

    for name, value in training.D.named_parameters():
        is_kept = name.startswith(tuple(f"blocks.{block}." for block in kept))
        assert torch.equal(value, before[name]) == is_kept, name


def test_freezing_more_discriminator_layers_than_there_are_is_refused():
    with pytest.raises(ParamsError, match=r"freeze_d_layers is 9, .* has 2 blocks"):
        Training(Model.new(CONFIG), None, Recipe(total_kimg=1, batch_size=4, freeze_d_layers=9))


@pytest.mark.parametrize("component", ["torgb", "const"])
def test_freezing_what_a_generator_does_not_have_is_refused(component):
    generator = Model.new(ALIAS_FREE).generator

    with pytest.raises(ParamsError, match=f"freeze names '{component}'.*'affine', 'conv'"):
        freeze_generator(generator, generator, (component,))


def test_a_stylegan3_model_is_not_trained_and_what_it_is_for_is_said():
    recipe = Recipe(total_kimg=1, batch_size=4)

    with pytest.raises(ParamsError, match=r"'stylegan3-t' cannot be trained.*inversion"):
        Training(Model.new(ALIAS_FREE), None, recipe)
