"""Laws of conditional training."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

from stylealign.data.batches import TrainingBatches
from stylealign.data.dataset import open_dataset
from stylealign.data.labels import parse_schema
from stylealign.data.prepare import prepare
from stylealign.data.sources import open_source
from stylealign.errors import DataError, ParamsError
from stylealign.images import encode_png
from stylealign.models import Model, ModelConfig
from stylealign.recipe import Recipe
from stylealign.training import Training, train
from stylealign.training.classes import Classes, find_classes
from stylealign.training.requirements import PARENT_TERMS
from stylealign.training.split import Split
from stylealign.training.steps import train_step

CONFIG = ModelConfig(
    resolution=8, z_dim=4, w_dim=4, c_dim=2, num_mapping_layers=2, channels={4: 8, 8: 8},
    mbstd_group_size=2, discriminator_mapping_layers=2,
)  # fmt: skip
CLASSES = Classes("kind", torch.tensor([0.75, 0.25]))
RECIPE = Recipe(
    total_kimg=0.064, tick_kimg=0.016, snapshot_kimg=0.032, batch_size=8, classes="kind",
    pl_weight=1.0, pl_interval=2, r1_interval=3, style_mixing=0.9, augment="bgc", augment_p=0.3,
    layout_weight=1.0, feature_weight=1.0, style_weight=1.0, correspondence_weight=10.0,
)  # fmt: skip
ALONE = RECIPE.model_copy(update=dict.fromkeys(PARENT_TERMS, 0.0))
"""For a model without parent."""


class _Batch:
    def __init__(self, rng):
        self.labels = {"kind": torch.randint(2, (8,), generator=rng)}
        shade = self.labels["kind"].float() * 2 - 1
        self.images = shade[:, None, None, None] + torch.randn(8, 3, 8, 8, generator=rng) * 0.1


class _TwoKinds:
    """Dark images of kind 0, light ones of kind 1."""

    position = 0

    def __next__(self):
        self.position += 1
        return _Batch(torch.Generator().manual_seed(self.position))

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


def new_training(recipe: Recipe = RECIPE, **fields) -> Training:
    torch.manual_seed(0)
    model = Model.new(CONFIG)
    return Training(model, copy.deepcopy(model.generator), recipe, classes=CLASSES, **fields)


def test_a_conditional_run_taken_up_again_ends_in_the_same_weights(tmp_path):
    undisturbed, begun, resumed = (new_training() for _ in range(3))
    list(train(undisturbed, _TwoKinds()))

    begun.recipe = RECIPE.model_copy(update={"total_kimg": 0.04})
    list(train(begun, _TwoKinds(), snapshot=tmp_path / "state.safetensors"))
    list(train(resumed, _TwoKinds(), snapshot=tmp_path / "state.safetensors"))

    expected = undisturbed.G_ema.state_dict()
    assert resumed.nimg == undisturbed.nimg
    assert all(torch.equal(v, expected[k]) for k, v in resumed.G_ema.state_dict().items())


def test_a_conditional_batch_in_parts_gives_the_losses_of_the_whole_batch():
    losses = []
    for split in (Split(), Split(num_parts=2)):
        training = new_training(split=split)
        training.g_optimizer = torch.optim.SGD(training.g_params, lr=0.01)
        training.d_optimizer = torch.optim.SGD(training.d_params, lr=0.01)
        batches = _TwoKinds()
        steps = [next(batches) for _ in range(4)]
        found = [train_step(training, b.images, training.classes_of(b)) for b in steps]
        losses.append([{name: value.item() for name, value in step.items()} for step in found])

    for whole, divided in zip(*losses, strict=True):
        assert divided == pytest.approx(whole, rel=1e-3, abs=5e-5)


def test_the_generator_learns_what_each_class_looks_like():
    recipe = Recipe(
        total_kimg=0.6, tick_kimg=0.6, batch_size=8, classes="kind", g_lr=4e-3, d_lr=4e-3,
        ema_kimg=0.05, r1_gamma=0.05,
    )  # fmt: skip
    torch.manual_seed(0)
    training = Training(Model.new(CONFIG), None, recipe, classes=CLASSES)

    list(train(training, _TwoKinds()))

    z = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    dark, light = (training.G_ema(z, c.expand(64, 2)).mean().item() for c in torch.eye(2))
    assert light - dark > 0.3


def test_classes_are_drawn_as_often_as_the_data_has_them(rng):
    drawn = CLASSES.draw(4000, rng)

    assert torch.equal(drawn.sum(dim=1), torch.ones(4000))
    assert drawn[:, 0].mean().item() == pytest.approx(0.75, abs=4 * (0.1875 / 4000) ** 0.5)


def test_classes_that_a_mirror_changes_keep_the_mirror_out_of_the_augmentation():
    swapped = Classes("side", torch.tensor([0.5, 0.5]), is_mirrored_alike=False)
    torch.manual_seed(0)

    training = Training(Model.new(CONFIG), None, ALONE, classes=swapped)

    assert "xflip" not in training.augmentation.transforms
    assert "xflip" in new_training().augmentation.transforms


@pytest.mark.parametrize("classes", [None, Classes("kind", torch.ones(3) / 3)])
def test_classes_that_do_not_fit_the_model_are_refused(classes):
    recipe = ALONE.model_copy(update={"classes": "" if classes is None else "kind"})

    with pytest.raises(ParamsError, match="expects 2 classes"):
        Training(Model.new(CONFIG), None, recipe, classes=classes)


def test_a_real_image_without_its_class_is_refused():
    with pytest.raises(DataError, match="1 images of a batch lack label 'kind'"):
        CLASSES.one_hot({"kind": torch.tensor([0, -1, 1])})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    rng = np.random.default_rng(0)
    (folder / "raw").mkdir()
    for number in range(12):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        (folder / "raw" / f"{number:02d}.png").write_bytes(encode_png(pixels))
    table = pd.DataFrame(
        {
            "file": [f"{number:02d}.png" for number in range(12)],
            "side": ["left" if number % 3 else "right" for number in range(12)],
            "kind": ["b" if number % 4 else "a" for number in range(12)],
            "yaw": np.linspace(-1, 1, 12),
            "partly": [None if number == 5 else "a" for number in range(12)],
        }
    )
    table.to_csv(folder / "labels.csv", index=False)
    schema = {
        "side": {"type": "class", "values": ["left", "right"], "mirror": "swap"},
        "kind": {"type": "class", "values": ["b", "a"]},
        "yaw": {"type": "continuous", "mirror": "negate"},
        "partly": {"type": "class", "values": ["a", "b"]},
    }
    source = open_source(folder / "raw", labels=folder / "labels.csv")
    prepare(
        source, folder / "set", resolution=8, schema=parse_schema(schema),
        fractions={"train": 1.0, "val": 0.0, "test": 0.0}, seed=0, shard_size=100,
        max_rejected_fraction=0.0,
    )  # fmt: skip
    return open_dataset(folder / "set")


def test_shares_and_mirror_of_classes_are_those_of_the_data_set(dataset):
    classes = find_classes(dataset, "side")

    assert classes.shares.tolist() == pytest.approx([8 / 12, 4 / 12])
    assert not classes.is_mirrored_alike


def test_mirrored_images_change_shares_as_they_change_classes(dataset):
    side = find_classes(dataset, "side", mirror=True)
    kind = find_classes(dataset, "kind", mirror=True)

    assert side.shares.tolist() == pytest.approx([0.5, 0.5])
    assert kind.shares.tolist() == pytest.approx([9 / 12, 3 / 12])


def test_shares_are_those_of_the_images_that_the_discriminator_sees(dataset):
    classes = find_classes(dataset, "side", mirror=True)
    batches = TrainingBatches(dataset, 12, seed=0, mirror=True)

    seen = torch.cat([classes.one_hot(next(batches).labels) for _ in range(200)])

    sigma = 0.5 / len(seen) ** 0.5
    assert seen.mean(dim=0).tolist() == pytest.approx(classes.shares.tolist(), abs=4 * sigma)


def test_classes_of_images_are_theirs_over_and_over(dataset):
    classes, ids = find_classes(dataset, "side"), dataset.ids("train")

    once, more = (classes.of_images(dataset, ids[:4], num) for num in (4, 10))

    expected = [["left", "right"].index(value) for value in dataset.labels().loc[ids[:4], "side"]]
    assert once.argmax(dim=1).tolist() == expected
    assert torch.equal(more, torch.cat([once, once, once[:2]]))


@pytest.mark.parametrize(
    ("label", "reason"),
    [("yaw", "expected a label of type 'class'"), ("partly", "missing for 1 of 12"),
     ("absent", "one of \\['side', 'kind', 'partly'\\]")],
)  # fmt: skip
def test_labels_that_give_no_classes_are_refused(dataset, label, reason):
    with pytest.raises(DataError, match=reason):
        find_classes(dataset, label)
