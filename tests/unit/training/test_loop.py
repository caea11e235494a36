"""Laws of the training loop, on a real network of 8x8 images."""

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from stylealign.checkpoints import save_model
from stylealign.errors import CheckpointError, DataError
from stylealign.models import Model, ModelConfig
from stylealign.recipe import Recipe
from stylealign.training import Training, train
from stylealign.training.loop import Tick, next_multiple
from stylealign.training.snapshot import SnapshotFiles, kimg_of, load_state, save_state
from tests.tiny import Batch, NoiseBatches

CONFIG = ModelConfig(
    resolution=8, z_dim=4, w_dim=4, num_mapping_layers=2, channels={4: 8, 8: 8}, noise=True
)


def present(network):
    """A network that this checkpoint is known to hold."""
    assert network is not None
    return network


def recipe(**changes) -> Recipe:
    numbers: dict[str, Any] = {
        "total_kimg": 0.064, "tick_kimg": 0.016, "snapshot_kimg": 0.032, "batch_size": 4,
        "pl_weight": 1.0, "pl_interval": 2, "r1_interval": 3, "style_mixing": 0.5,
    }  # fmt: skip
    return Recipe(**(numbers | changes))


def new_model() -> Model:
    torch.manual_seed(0)
    return Model.new(CONFIG)


def run(training: Training, snapshot: Path | None = None) -> list[Tick]:
    return list(train(training, NoiseBatches(), snapshot=snapshot))


def all_tensors(training: Training) -> dict[str, torch.Tensor]:
    networks = {"G": training.G, "D": training.D, "G_ema": training.G_ema}
    return {
        f"{name}.{key}": value
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


@pytest.mark.parametrize("changes", [{}, {"augment": "bgc", "augment_p": 0.3, "ada_kimg": 1}])
def test_a_resumed_run_is_bit_identical_to_an_undisturbed_one(changes, tmp_path):
    undisturbed = Training(new_model(), None, recipe(**changes))
    run(undisturbed)

    begun = Training(new_model(), None, recipe(total_kimg=0.04, **changes))
    run(begun, tmp_path / "state.safetensors")
    torch.manual_seed(99)  # the global generator must not matter
    resumed = Training(Model.new(CONFIG), None, recipe(**changes))
    run(resumed, tmp_path / "state.safetensors")

    expected = all_tensors(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in all_tensors(resumed).items())
    assert resumed.ada == undisturbed.ada


def test_every_step_says_how_far_the_run_is():
    heard: list[float] = []

    list(train(Training(new_model(), None, recipe()), NoiseBatches(), on_step=heard.append))

    assert heard == pytest.approx([0.004 * step for step in range(1, 17)])


def test_the_models_record_says_how_long_it_was_trained():
    training = Training(new_model(), None, recipe())

    assert [training.model.config.kimg for _ in train(training, NoiseBatches())] == [
        0.016, 0.032, 0.048, 0.064,
    ]  # fmt: skip


def test_so_it_does_where_a_run_that_was_done_is_taken_up(tmp_path):
    run(Training(new_model(), None, recipe()), tmp_path / "state.safetensors")
    done = Training(new_model(), None, recipe())

    assert not run(done, tmp_path / "state.safetensors")
    assert done.model.config.kimg == 0.064


def test_the_place_of_a_snapshot_may_be_given_as_text(tmp_path):
    place = str(tmp_path / "state.safetensors")
    begun = Training(new_model(), None, recipe(total_kimg=0.016))

    for _ in train(begun, NoiseBatches(), snapshot=place):
        pass
    begun.save(place, NoiseBatches())
    begun.load(place, NoiseBatches())

    assert SnapshotFiles(tmp_path / "state.safetensors").at(begun.kimg).exists()


@pytest.mark.parametrize("name", ["state.safetensors", "state"])
def test_a_shorter_run_uses_nothing_that_comes_after_its_end(name, tmp_path):
    undisturbed = Training(new_model(), None, recipe(total_kimg=0.04))
    run(undisturbed)
    run(Training(new_model(), None, recipe(keep_snapshots=9)), tmp_path / name)

    shorter = Training(Model.new(CONFIG), None, recipe(total_kimg=0.04))
    ticks = run(shorter, tmp_path / name)

    assert [round(tick.kimg, 3) for tick in ticks] == [0.04]  # on from the snapshot of 0.032
    expected = all_tensors(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in all_tensors(shorter).items())


def test_a_state_whose_contender_is_gone_is_not_gone_on_from(tmp_path):
    base = tmp_path / "state.safetensors"
    begun = Training(new_model(), None, recipe())

    def contend() -> None:
        begun.contenders = [0.032]

    list(train(begun, NoiseBatches(), snapshot=base, on_snapshot=contend))
    SnapshotFiles(base).at(0.032).unlink()

    ticks = run(Training(new_model(), None, recipe(total_kimg=0.08)), base)

    assert ticks[0].kimg == 0.016
    assert "may yet choose the snapshot of 0.032 kimg, which is gone" in ticks[0].notes[0]


def test_a_killed_run_repeats_from_its_last_snapshot(tmp_path):
    undisturbed = Training(new_model(), None, recipe())
    run(undisturbed)
    killed = train(
        Training(new_model(), None, recipe()), NoiseBatches(), snapshot=tmp_path / "s.st"
    )
    for tick in killed:
        if tick.kimg > 0.04:
            break  # past the snapshot at 0.032, before the next

    resumed = Training(new_model(), None, recipe())
    run(resumed, tmp_path / "s.st")

    assert resumed.history == undisturbed.history
    expected = all_tensors(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in all_tensors(resumed).items())


def test_a_snapshot_of_another_recipe_is_refused_by_field(tmp_path):
    path = tmp_path / "state.safetensors"
    run(Training(new_model(), None, recipe()), path)

    with pytest.raises(CheckpointError, match="g_lr"):
        run(Training(new_model(), None, recipe(g_lr=0.5)), path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def change_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


DAMAGE = pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate, "while deserializing"),
        (change_a_bit, "its sha256 is not that of what was written"),
    ],
)


@DAMAGE
def test_a_damaged_snapshot_is_passed_over_for_the_one_before(damage, reason, tmp_path):
    undisturbed = Training(new_model(), None, recipe())
    run(undisturbed)
    base = tmp_path / "state.safetensors"
    run(Training(new_model(), None, recipe()), base)
    last, newest = SnapshotFiles(base).all()[-2:]
    damage(newest)

    resumed = Training(new_model(), None, recipe())
    ticks = run(resumed, base)

    note = ticks[0].notes[0]
    assert newest.name in note
    assert reason in note
    assert note.endswith(f"the run goes on from {kimg_of(last):.3f} kimg")
    assert resumed.history == undisturbed.history
    expected = all_tensors(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in all_tensors(resumed).items())
    load_state(newest)  # written anew


@DAMAGE
def test_a_stop_that_is_damaged_is_passed_over(damage, reason, tmp_path):
    base = tmp_path / "state.safetensors"
    answers = iter((False, False, True))
    begun = Training(new_model(), None, recipe())
    list(train(begun, NoiseBatches(), snapshot=base, should_stop=lambda: next(answers)))
    regular, stop = SnapshotFiles(base).all()
    damage(stop)

    note = run(Training(new_model(), None, recipe()), base)[0].notes[0]

    assert stop.name in note
    assert reason in note
    assert note.endswith(f"the run goes on from {kimg_of(regular):.3f} kimg")


@DAMAGE
def test_a_run_with_damaged_snapshots_alone_is_refused(damage, reason, tmp_path):
    base = tmp_path / "state.safetensors"
    run(Training(new_model(), None, recipe()), base)
    for path in SnapshotFiles(base).all():
        damage(path)

    with pytest.raises(CheckpointError, match=f"{reason}.*delete it"):
        run(Training(new_model(), None, recipe()), base)


@pytest.mark.parametrize("field", ["recipe", "ada", "history", "rollbacks", "nimg", "batches"])
def test_a_snapshot_with_a_number_in_a_wrong_place_is_refused(field, tmp_path):
    base = tmp_path / "state.safetensors"
    run(Training(new_model(), None, recipe()), base)
    for path in SnapshotFiles(base).all():
        tensors, numbers = load_state(path)
        save_state(path, tensors, numbers | {field: None})

    with pytest.raises(CheckpointError, match="cannot be continued"):
        run(Training(new_model(), None, recipe()), base)


def test_files_that_are_only_called_like_snapshots_are_none(tmp_path):
    for name in ("run@final.st", "run@000000.016 (copy).st", "run@000000.016.st.bak"):
        (tmp_path / name).touch()
    (tmp_path / "run@000000.016-stop.st").touch()

    files = SnapshotFiles(tmp_path / "run.st")

    assert [path.name for path in files.all()] == ["run@000000.016-stop.st"]
    assert not SnapshotFiles(tmp_path / "nowhere" / "run.st").all()


def test_a_snapshot_of_other_data_is_refused_by_its_name(tmp_path):
    class Other(NoiseBatches):
        def load_state_dict(self, state):
            raise DataError(f"state of the batches has {state}, expected another")

    base = tmp_path / "state.safetensors"
    run(Training(new_model(), None, recipe()), base)

    with pytest.raises(CheckpointError, match=r"state@.*'position': 16.*delete it to restart"):
        list(train(Training(new_model(), None, recipe()), Other(), snapshot=base))


def test_a_snapshot_of_another_version_is_refused_by_what_it_lacks(tmp_path):
    base = tmp_path / "state.safetensors"
    run(Training(new_model(), None, recipe()), base)
    for path in SnapshotFiles(base).all():
        tensors, numbers = load_state(path)
        save_state(path, tensors, {k: v for k, v in numbers.items() if k != "measurements"})

    with pytest.raises(CheckpointError, match=r"lacks 'measurements'.*another version"):
        run(Training(new_model(), None, recipe()), base)


def test_a_snapshot_of_another_parent_is_refused_by_name(tmp_path):
    """Two parents that differ in nothing but their weights, and a child of each."""
    parents = [Model.new(CONFIG) for _ in range(2)]
    for number, parent in enumerate(parents):
        save_model(parent, tmp_path / f"parent{number}")
    children = [parent.new_child("cats", data_hash="d") for parent in parents]
    run(Training(children[0], parents[0].generator, recipe()), tmp_path / "cats.safetensors")

    with pytest.raises(
        CheckpointError, match=r"cats@.* it is of another model: other id, parent_id"
    ):
        run(Training(children[1], parents[1].generator, recipe()), tmp_path / "cats.safetensors")


def test_what_is_only_shown_or_kept_may_change_between_two_sittings(tmp_path):
    undisturbed = Training(new_model(), None, recipe())
    run(undisturbed)
    begun = train(Training(new_model(), None, recipe()), NoiseBatches(), snapshot=tmp_path / "s.st")
    while next(begun).kimg < 0.032:
        pass

    changes = {"tick_kimg": 0.008, "snapshot_kimg": 0.016, "max_rollbacks": 9}
    resumed = Training(new_model(), None, recipe(**changes))
    ticks = run(resumed, tmp_path / "s.st")

    assert [round(tick.kimg, 3) for tick in ticks] == [0.04, 0.048, 0.056, 0.064]
    expected = all_tensors(undisturbed)
    assert all(torch.equal(value, expected[name]) for name, value in all_tensors(resumed).items())


@pytest.mark.parametrize(
    ("interval", "batch", "places"),
    [(0.1, 20, [100, 200, 300, 400]), (0.3, 20, [300, 600, 900]), (1.1, 10, [1100, 2200, 3300])],
)
def test_no_multiple_of_an_interval_is_passed_over(interval, batch, places):
    """Decimal kimg times a number are often a hair above or below the product."""
    found, nimg = [], 0
    while len(found) < len(places):
        due = next_multiple(nimg, interval)
        while nimg < due:
            nimg += batch
        found.append(nimg)

    assert found == places


def test_a_snapshot_of_another_architecture_is_refused(tmp_path):
    run(Training(new_model(), None, recipe()), tmp_path / "state.safetensors")
    wider = Model.new(CONFIG.model_copy(update={"channels": {4: 16, 8: 8}}))

    with pytest.raises(CheckpointError, match=r"of another model: other channels"):
        run(Training(wider, None, recipe()), tmp_path / "state.safetensors")


@pytest.mark.parametrize("component", ["mapping", "affine", "const", "torgb"])
def test_frozen_components_keep_the_parents_weights(component):
    """Those of its average, by which it is used, in both networks of the child."""
    model = new_model()
    with torch.no_grad():
        for parameter in present(model.raw_generator).parameters():
            parameter.add_(0.1)
    before = copy.deepcopy(model.generator.state_dict())

    training = Training(model, None, recipe(freeze=(component,)))
    run(training)

    frozen = {name for name, p in training.G.named_parameters() if not p.requires_grad}
    assert frozen
    for network in (training.G, model.generator):
        moved = {n for n, p in network.named_parameters() if (p - before[n]).abs().max() > 1e-6}
        assert frozen.isdisjoint(moved)
        assert "synthesis.blocks.b8.conv1.weight" in moved


def test_the_discriminator_takes_no_gradient_of_its_weights_in_the_generators_step():
    """Nor is anything kept for them."""
    training = Training(new_model(), new_model().generator, recipe(r1_interval=1000, r1_gamma=0))
    weight, learns = next(training.D.parameters()), list[bool]()
    training.D.register_forward_hook(lambda *_: learns.append(weight.requires_grad))

    next(train(training, NoiseBatches()))

    assert learns[:6] == [False, True, True] * 2  # then real and drawn images in its own


def test_the_generator_waits_while_the_discriminator_warms_up():
    model = new_model()
    before = copy.deepcopy(present(model.raw_generator).state_dict())
    discriminator = copy.deepcopy(present(model.discriminator).state_dict())

    training = Training(model, None, recipe(d_warmup_kimg=0.06))
    assert len([*itertools.islice(train(training, NoiseBatches()), 3)]) == 3  # to 0.048

    assert all(torch.equal(value, before[n]) for n, value in training.G.state_dict().items())
    weights = training.D.state_dict()
    assert not all(torch.equal(value, discriminator[n]) for n, value in weights.items())


def test_structure_terms_hold_the_child_near_its_parent():
    parent = new_model().generator
    distances = {}
    for weight in (0.0, 100.0):
        training = Training(
            new_model(), parent, recipe(feature_weight=weight, layout_weight=weight)
        )
        run(training)
        z = torch.randn(16, 4, generator=torch.Generator().manual_seed(3))
        distances[weight] = (training.G(z) - parent(z)).abs().mean().item()

    assert distances[100.0] < distances[0.0]


def test_images_that_are_not_finite_end_the_run_and_say_where():
    training = Training(new_model(), None, recipe())

    with pytest.raises(DataError, match=r"by 0\.016 kimg hold values that are not finite"):
        list(train(training, NoiseBatches(scale=float("nan"))))


def test_a_model_whose_weights_are_not_finite_is_refused_by_tensor():
    model = new_model()
    with torch.no_grad():
        weight = present(model.raw_generator).get_parameter("synthesis.blocks.b8.conv1.weight")
        weight[0, 0] = float("nan")

    with pytest.raises(CheckpointError, match=r"G\.synthesis\.blocks\.b8\.conv1\.weight"):
        run(Training(model, None, recipe()))


def test_images_that_are_all_alike_are_refused():
    with pytest.raises(DataError, match="16 real images are all alike"):
        list(train(Training(new_model(), None, recipe()), NoiseBatches(scale=0.0)))


class _Mirrored(NoiseBatches):
    """One image, or one and another, each x-flipped at random."""

    def __init__(self, num_images):
        super().__init__()
        self.all = torch.randn(num_images, 3, 8, 8, generator=torch.Generator().manual_seed(5))

    def __next__(self):
        rng = torch.Generator().manual_seed(self.position)
        self.position += 1
        images = self.all[torch.randint(len(self.all), (4,), generator=rng)]
        is_flipped = torch.rand(4, generator=rng) < 0.5
        return Batch(torch.where(is_flipped[:, None, None, None], images.flip(3), images))


def test_images_that_are_one_and_its_mirror_image_are_refused_where_they_are_mirrored():
    with pytest.raises(DataError, match="16 real images are all alike"):
        list(train(Training(new_model(), None, recipe(mirror=True)), _Mirrored(1)))


@pytest.mark.parametrize(("mirror", "num_images"), [(True, 2), (False, 1)])
def test_images_that_differ_by_more_than_the_mirror_are_trained_on(mirror, num_images):
    training = Training(new_model(), None, recipe(mirror=mirror))

    assert len(list(train(training, _Mirrored(num_images)))) == 4


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 8)])
def test_images_of_another_size_or_channel_count_are_refused_with_both(shape):
    batches = NoiseBatches(shape=shape)

    with pytest.raises(DataError, match=r"shape \[[0-9, ]+\], the model draws \[3, 8, 8\]"):
        list(train(Training(new_model(), None, recipe()), batches))


def test_a_model_without_discriminator_cannot_be_trained():
    model = new_model()
    model.discriminator = None

    with pytest.raises(CheckpointError, match="no discriminator"):
        Training(model, None, recipe())
