"""A batch in parts computes what the whole batch computes."""

import copy

import pytest
import torch

from stylealign.errors import ParamsError
from stylealign.models import Model, ModelConfig
from stylealign.recipe import Recipe
from stylealign.training import Training, train
from stylealign.training.health import measure_health
from stylealign.training.losses import linearized_path_penalty, path_length_penalty
from stylealign.training.split import Split
from stylealign.training.steps import train_step

CONFIG = ModelConfig(
    resolution=8, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8},
    mbstd_group_size=2,
)  # fmt: skip

RECIPE = Recipe(
    total_kimg=1, batch_size=8, pl_weight=1.0, pl_interval=2, r1_interval=3,
    style_mixing=0.5, feature_weight=1.0, layout_weight=1.0,
    augment="bgc", augment_p=0.5,
)  # fmt: skip

ALONE = RECIPE.model_copy(update={"feature_weight": 0.0, "layout_weight": 0.0})
"""For a model without parent."""


def new_training(split: Split) -> Training:
    """A child in training by plain gradient descent: Adam's first steps magnify rounding."""
    torch.manual_seed(0)
    model = Model.new(CONFIG)
    training = Training(model, copy.deepcopy(model.generator), RECIPE, split=split)
    training.g_optimizer = torch.optim.SGD(training.g_params, lr=0.01)
    training.d_optimizer = torch.optim.SGD(training.d_params, lr=0.01)
    return training


def losses_of(training: Training, num_steps: int = 6) -> list[dict[str, float]]:
    images = torch.randn(num_steps, 8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    steps = [train_step(training, real) for real in images]
    return [{name: value.item() for name, value in losses.items()} for losses in steps]


@pytest.mark.parametrize("num_parts", [2, 4])
def test_a_batch_in_parts_gives_the_losses_and_weights_of_the_whole_batch(num_parts):
    whole, divided = new_training(Split()), new_training(Split(num_parts=num_parts))

    expected, found = losses_of(whole), losses_of(divided)

    for one, other in zip(expected, found, strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=2e-5)
    for one, other in zip(whole.G_ema.parameters(), divided.G_ema.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(whole.G.w_avg, divided.G.w_avg, atol=1e-6)


def test_parts_keep_the_minibatch_stddev_groups_of_the_whole_batch():
    training = new_training(Split())
    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(2))

    whole = training.D(images)

    for part in Split(num_parts=2).parts(8):
        assert torch.allclose(training.D(images[part]), whole[part], atol=1e-6)


def test_the_linearized_path_penalty_has_the_gradient_of_the_joint_penalty(rng):
    joint = torch.rand(6, generator=rng, dtype=torch.float64).requires_grad_(True)
    mean = torch.tensor(0.3, dtype=torch.float64)
    penalties, moved = path_length_penalty(joint, mean, 0.25)
    (expected,) = torch.autograd.grad(penalties.mean(), joint)

    parts = [joint[start::3].detach().requires_grad_(True) for start in range(3)]
    losses = [linearized_path_penalty(part, joint.detach(), moved, 0.25) for part in parts]
    found = [torch.autograd.grad(loss, part)[0] for loss, part in zip(losses, parts, strict=True)]

    assert torch.allclose(torch.stack(found, dim=1).flatten(), expected)


def test_the_rows_of_all_processes_and_parts_are_the_joint_batch_once():
    splits = [Split(rank, 3, 2) for rank in range(3)]

    rows = [row for split in splits for part in split.parts(12) for row in range(12)[part]]
    own = [list(range(12))[1::3][splits[1].own_part(part)] for part in splits[1].parts(12)]

    assert sorted(rows) == list(range(12))
    assert own == [list(range(12))[part] for part in splits[1].parts(12)]


def test_a_batch_that_cannot_be_dealt_in_whole_groups_is_refused_with_one_that_can():
    with pytest.raises(ParamsError, match="multiple of 6, such as 6"):
        new_training(Split(num_parts=3))


@pytest.mark.parametrize(
    ("part_size", "num_parts"), [(64, 1), (32, 1), (31, 2), (12, 4), (4, 8), (3, 11)]
)
def test_parts_are_the_fewest_of_whole_groups_that_a_process_holds(part_size, num_parts):
    split = Split()

    split.divide(32, part_size, group=4)

    assert split.num_parts == num_parts  # 11 parts fit no batch of 32: that is refused


def test_parts_are_halved_as_far_as_whole_groups_go():
    split, seen = Split(), list[int]()

    while split.halve(48, group=4):
        seen.append(split.part_size(48))

    assert seen == [24, 12, 4]
    assert Split().halve(12, group=4)  # to three parts: two would divide a group


def test_parts_of_a_snapshot_are_dealt_anew_to_another_number_of_processes():
    divided = new_training(Split(num_parts=4))
    divided.restore(*divided.state(NO_BATCHES), NO_BATCHES)
    alone = divided.split.num_parts
    divided.split.num_ranks, divided.split.num_parts = 2, 1
    divided.restore(*new_training(Split(num_parts=4)).state(NO_BATCHES), NO_BATCHES)

    assert alone == 4
    assert divided.split.num_parts == 2
    divided.split.require_fit(RECIPE.batch_size, divided.mbstd_group, CONFIG.mbstd_group_size)


@pytest.mark.parametrize(("part_size", "num_parts"), [(2, 4), (8, 1), (None, 1)])
def test_parts_that_the_recipe_asks_for_now_replace_those_of_a_snapshot(part_size, num_parts):
    def new(size: int | None) -> Training:
        torch.manual_seed(0)
        recipe = ALONE.model_copy(update={"part_size": size})
        return Training(Model.new(CONFIG), None, recipe, split=Split())

    other = new(part_size)
    other.restore(*new(4).state(NO_BATCHES), NO_BATCHES)

    assert other.split.num_parts == num_parts


class _NoBatches:
    def __next__(self):
        raise StopIteration

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert state == {}


NO_BATCHES = _NoBatches()


def out_of_memory_above(limit: int, training: Training, network: str = "D") -> list[int]:
    """Let every batch of more images than `limit` raise what a full GPU raises."""
    seen: list[int] = []

    def check(_module, arguments):
        seen.append(len(arguments[0]))
        if seen[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")

    module = training.D if network == "D" else training.G.mapping
    module.register_forward_pre_hook(check)
    return seen


def test_out_of_memory_halves_the_parts_keeps_the_batch_and_says_so():
    undisturbed, full = new_training(Split()), new_training(Split())
    seen = out_of_memory_above(4, full)

    expected, found = losses_of(undisturbed), losses_of(full)

    assert full.split.num_parts == 2
    assert seen.count(8) == 1
    assert "the batch of 8 is now worked through in parts of 4" in full.notes[0]
    assert full.nimg == undisturbed.nimg == 48
    for one, other in zip(expected, found, strict=True):
        assert other == pytest.approx(one, rel=1e-4, abs=2e-5)


@pytest.mark.parametrize("network", ["G", "D"])
@pytest.mark.parametrize("group", [2, 4])
def test_health_is_the_same_where_memory_holds_fewer_images(group, network):
    torch.manual_seed(0)
    config = CONFIG.model_copy(update={"mbstd_group_size": group})
    training = Training(Model.new(config), None, ALONE)
    real = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    expected = measure_health(training, real)

    seen = out_of_memory_above(5, training, network)
    found, num_first = measure_health(training, real), len(seen)
    again = measure_health(training, real)

    assert seen[:3] == [16, 8, 4]
    assert set(seen[3:]) == {4}
    assert found == again == pytest.approx(expected, rel=1e-4)
    assert len(seen) - num_first == (4 if network == "G" else 8)


def test_a_part_size_bounds_what_is_drawn_to_measure_as_well():
    recipe = ALONE.model_copy(update={"part_size": 4})
    torch.manual_seed(0)
    training = Training(Model.new(CONFIG), None, recipe)
    seen = [out_of_memory_above(4, training, network) for network in ("G", "D")]

    measure_health(training, torch.randn(16, 3, 8, 8))

    assert max(map(max, seen)) == 4


def test_a_run_ends_on_a_device_that_holds_a_quarter_of_the_batch():
    class Noise:
        """Endless noise."""

        def __next__(self):
            self.images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
            return self

        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    recipe = ALONE.model_copy(update={"total_kimg": 0.032, "tick_kimg": 0.016})
    torch.manual_seed(0)
    training = Training(Model.new(CONFIG), None, recipe)
    for network in ("G", "D"):
        out_of_memory_above(2, training, network)

    ticks = [*train(training, Noise())]

    assert ticks[-1].kimg == 0.032
    assert [note.partition("in ")[2] for tick in ticks for note in tick.notes] == [
        "parts of 4; the effective batch stays 8",
        "parts of 2; the effective batch stays 8",
    ]


def test_out_of_memory_with_the_smallest_parts_ends_the_run_with_what_to_lower():
    training = new_training(Split())
    out_of_memory_above(1, training)

    with pytest.raises(ParamsError, match="out of memory with parts of 2 images"):
        losses_of(training)
