"""Style mixing: how often, where it cuts, and which layers each z gives."""

from collections import Counter

import pytest
import torch

from stylealign.models import Generator, ModelConfig
from stylealign.training.codes import draw_codes, mix

CONFIG = ModelConfig(
    resolution=16, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 4, 8: 4, 16: 4}, noise=False
)  # six layers take a style


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(CONFIG)


def test_layers_from_the_cut_on_come_from_the_second_z(generator, rng):
    codes = draw_codes(generator, 3, style_mixing=1.0, classes=None, rng=rng)

    (first, begin), (second, cut) = codes.z
    w_plus = mix(generator, codes)

    assert begin == 0 < cut < CONFIG.num_ws
    assert not torch.equal(first, second)
    assert torch.equal(w_plus[:, :cut], generator.mapping(first)[:, :cut])
    assert torch.equal(w_plus[:, cut:], generator.mapping(second)[:, cut:])


def test_codes_are_mixed_with_the_given_probability_and_cut_anywhere_alike(generator, rng):
    num = 2000

    drawn = [
        draw_codes(generator, 1, style_mixing=0.7, classes=None, rng=rng).z for _ in range(num)
    ]

    cuts = Counter(z[1][1] for z in drawn if len(z) == 2)
    sigma = (0.7 * 0.3 / num) ** 0.5
    assert cuts.total() / num == pytest.approx(0.7, abs=4 * sigma)
    assert cuts.keys() == {1, 2, 3, 4, 5}
    for count in cuts.values():
        assert count / cuts.total() == pytest.approx(0.2, abs=4 * (0.16 / cuts.total()) ** 0.5)


def test_without_mixing_every_layer_has_the_same_w(generator, rng):
    codes = draw_codes(generator, 3, style_mixing=0.0, classes=None, rng=rng)

    w_plus = mix(generator, codes)

    assert len(codes.z) == 1
    assert torch.equal(w_plus, w_plus[:, :1].expand_as(w_plus))
