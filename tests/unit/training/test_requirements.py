"""What does not fit is refused before anything is trained, by what has to be changed."""

import math
from collections.abc import Sequence

import pytest
import torch
from pydantic import ValidationError

from stylealign.errors import CheckpointError, DataError, ParamsError
from stylealign.models import Model, ModelConfig
from stylealign.recipe import Recipe
from stylealign.training import Training, train
from stylealign.training.health import measure_health
from stylealign.training.split import Split

CONFIG = ModelConfig(resolution=8, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8})


class Batch:
    """Real images."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images


class Same:
    """One batch over and over."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __next__(self) -> Batch:
        return Batch(self.images)

    def state_dict(self) -> dict[str, int]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing."""
        assert not state


class OfASet(Same):
    """The same of a data set, whose images it tells."""

    def __init__(self, images: torch.Tensor, ids: Sequence[str] = (), *, mirror: bool = False):
        super().__init__(images)
        self.ids, self.mirror = ids or ["one"] * len(images), mirror


def new_model(config: ModelConfig = CONFIG) -> Model:
    torch.manual_seed(0)
    return Model.new(config)


def recipe(**changes) -> Recipe:
    numbers = {"total_kimg": 0.016, "batch_size": 4, "g_lr": 0.1, "ema_kimg": 0.001}
    return Recipe.model_validate(numbers | changes)


IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (((IMAGES + 1) * 127.5).to(torch.uint8), "images are torch.uint8, expected torch.float32"),
        (IMAGES.double(), "images are torch.float64, expected torch.float32"),
        ((IMAGES + 1) * 127.5, r"values up to 25\d\.\d+; expected .*: divide by 127.5"),
        (IMAGES[:3], "a batch has 3 images, expected 4"),
        (IMAGES[:0], "a batch has 0 images, expected 4"),
    ],
)
def test_batches_that_are_not_what_the_recipe_asks_for_are_refused(images, reason):
    training = Training(new_model(), None, recipe())

    with pytest.raises(DataError, match=reason):
        list(train(training, Same(images)))


def test_a_parent_that_is_the_model_itself_stays_where_it_was():
    model = new_model()
    before = {name: value.clone() for name, value in model.generator.state_dict().items()}

    training = Training(model, model.generator, recipe(style_weight=1.0))
    list(train(training, Same(IMAGES)))

    assert training.parent is not None
    kept, moved = training.parent.state_dict(), training.G_ema.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in kept.items())
    assert not all(torch.equal(value, before[name]) for name, value in moved.items())


def test_a_parent_of_another_architecture_is_refused_by_tensor():
    other = new_model(CONFIG.model_copy(update={"channels": {4: 8, 8: 4}})).generator

    with pytest.raises(CheckpointError, match=r"parent is of another architecture.*'synthesis\.b"):
        Training(new_model(), other, recipe())


def test_terms_that_need_a_parent_are_refused_without_one():
    with pytest.raises(ParamsError, match=r"layout_weight, style_weight: .* has no parent"):
        Training(new_model(), None, recipe(layout_weight=1.0, style_weight=1.0))


def test_layouts_of_more_pixels_than_the_model_draws_are_refused():
    model = new_model()
    huge = recipe(layout_weight=1.0, layout_resolution=1_000_000)
    Training(model, model.generator, recipe(layout_weight=1.0, layout_resolution=8))

    with pytest.raises(ParamsError, match=r"is 1000000, the model's is 8: set it to 8 or less"):
        Training(model, model.generator, huge)


def test_classes_that_the_recipe_names_and_nobody_gives_are_missed():
    with pytest.raises(ParamsError, match=r"classes=find_classes\(dataset, 'glasses'\)"):
        Training(new_model(), None, recipe(classes="glasses"))


def test_a_part_below_the_group_that_is_compared_is_refused_with_what_to_set():
    config = CONFIG.model_copy(update={"mbstd_group_size": 4})

    with pytest.raises(ParamsError, match=r"part_size is 2, .* groups of 4 .*: set it to 4 or mo"):
        Training(new_model(config), None, recipe(batch_size=32, part_size=2))


@pytest.mark.parametrize("mirror", [True, False])
def test_batches_that_mirror_otherwise_than_the_recipe_are_refused(mirror):
    batches = OfASet(torch.randn(4, 3, 8, 8), mirror=not mirror)
    training = Training(new_model(), None, recipe(mirror=mirror))

    with pytest.raises(ParamsError, match=rf"recipe.mirror is {mirror} .*mirror=recipe.mirror"):
        next(train(training, batches))


@pytest.mark.parametrize("num_images", [3, 4])
def test_fewer_images_than_the_batch_are_said(num_images):
    batches = OfASet(torch.randn(4, 3, 8, 8), ids=["some"] * num_images)

    tick = next(train(Training(new_model(), None, recipe()), batches))

    said = [f"{num_images} images are fewer than the batch of 4" in note for note in tick.notes]
    assert said == [True] * (num_images < 4)


def test_augmentation_of_colours_is_refused_for_other_channels_before_it_sets_in():
    config = CONFIG.model_copy(update={"img_channels": 4})
    Training(new_model(config), None, recipe(augment="blit"))

    with pytest.raises(ParamsError, match="1 or 3 channels, got 4; choose a set without them"):
        Training(new_model(config), None, recipe(augment="color"))


@pytest.mark.parametrize(
    ("stddev", "kin", "batch"),
    [(3, 8, 24), (6, 8, 24), (32, 4, 32)],
)
def test_any_groups_that_fit_the_batch_can_be_measured(stddev, kin, batch):
    model = new_model(CONFIG.model_copy(update={"mbstd_group_size": stddev}))
    changes = {"correspondence_weight": 1.0, "correspondence_group": kin, "batch_size": batch}
    training = Training(model, new_model().generator, recipe(**changes))

    tick = next(train(training, Same(torch.randn(batch, 3, 8, 8))))

    assert tick.figures["logit_spread"] > 0


@pytest.mark.parametrize(("stddev", "batch"), [(4, 3), (4, 2), (8, 6), (None, 6)])
def test_a_batch_below_the_stddev_group_is_judged_in_groups_of_its_own_size(stddev, batch):
    model = new_model(CONFIG.model_copy(update={"mbstd_group_size": stddev}))
    training = Training(model, None, recipe(batch_size=batch, max_rollbacks=0))
    real = torch.randn(18, 3, 8, 8)
    sizes: list[int] = []
    training.D.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))

    figures = measure_health(training, real)
    tick = next(train(training, Same(real[:batch])))

    assert math.isfinite(figures["logit_spread"])
    assert tick.figures.keys() >= figures.keys()
    assert set(sizes) == {batch}


@pytest.mark.parametrize(
    ("stddev", "batch", "kin", "near"),
    [(4, 2, 0, 8), (4, 4, 0, 8), (4, 20, 0, 16), (8, 3, 0, 16), (4, 12, 3, 24)],
)
def test_the_batch_size_that_is_named_fits_two_processes(stddev, batch, kin, near):
    model = new_model(CONFIG.model_copy(update={"mbstd_group_size": stddev}))
    parent = new_model().generator if kin else None
    terms = {"correspondence_weight": 1.0, "correspondence_group": kin} if kin else {}

    with pytest.raises(ParamsError, match=f"such as {near}$"):
        Training(model, parent, recipe(batch_size=batch, **terms), split=Split(0, 2))

    Training(new_model(model.config), parent, recipe(batch_size=near, **terms), split=Split(0, 2))


def test_correspondence_names_a_batch_that_fits_a_discriminator_without_groups():
    model = new_model(CONFIG.model_copy(update={"mbstd_group_size": None}))
    terms = {"correspondence_weight": 1.0, "correspondence_group": 8}

    with pytest.raises(ParamsError, match="multiple of 8, such as 8"):
        Training(model, new_model().generator, recipe(batch_size=12, **terms))


def test_a_discriminator_that_compares_the_whole_batch_trains_in_one_process_alone():
    model = new_model(CONFIG.model_copy(update={"mbstd_group_size": None}))

    with pytest.raises(ParamsError, match=r"compares all images of a batch .* in one process"):
        Training(model, None, recipe(batch_size=32), split=Split(0, 2))


class OnePass(Same):
    """Batches that end."""

    left = 3

    def __next__(self) -> Batch:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return super().__next__()


def test_batches_that_end_are_refused_with_the_kimg_and_what_they_have_to_do():
    ticks = train(Training(new_model(), None, recipe(tick_kimg=0.008)), OnePass(IMAGES))

    next(ticks)
    with pytest.raises(DataError, match=r"ended by 0.012 of 0.016 kimg: they have to go on"):
        next(ticks)


def test_samples_are_told_apart_where_a_tick_sees_a_single_image():
    changes = {"batch_size": 1, "tick_kimg": 0.001, "max_rollbacks": 0, "min_sample_spread": 0.0}
    figures = []
    for scale in (1.0, 0.0):
        training = Training(new_model(), None, recipe(**changes))
        with torch.no_grad():
            for parameter in training.G.mapping.parameters():
                parameter.mul_(scale)
        figures.append(next(train(training, Same(torch.randn(1, 3, 8, 8)))).figures)

    assert 0.1 < figures[0]["sample_spread"] < 10
    assert figures[1]["sample_spread"] < 0.01


def test_a_warm_up_that_leaves_the_generator_no_time_is_refused():
    with pytest.raises(ValidationError, match=r"d_warmup_kimg is 2 of total_kimg 2, the generator"):
        Recipe(total_kimg=2, d_warmup_kimg=2)
    with pytest.raises(ValidationError, match="the generator would never move"):
        Recipe(total_kimg=0.01, d_warmup_kimg=0.0095, batch_size=8)  # the last step is at 0.008
    assert Recipe(total_kimg=0.01, d_warmup_kimg=0.008, batch_size=8).d_warmup_kimg
