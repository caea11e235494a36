"""Which codes of an earlier run stay valid."""

import json
from pathlib import Path

import pytest

from stylealign.data.dataset import open_dataset
from stylealign.data.manifest import MANIFEST_FILE
from stylealign.errors import DataError
from stylealign.params import InvertParams
from tasks.inversion import choose_rows, plan_codes

PARAMS = InvertParams(
    dataset="cats", max_images=None, space="w_plus", num_steps=2, learning_rate=0.1,
    perceptual_weight=0.0, spread_weight=0.0, prior_weight=0.0, num_candidates=4, encoder_kimg=0,
    batch_size=4, shard_size=4, min_psnr=20.0, seed=0, splits=("train", "val", "test"),
)  # fmt: skip


@pytest.fixture
def images(tmp_path, prepare_cats) -> Path:
    """Ten prepared images."""
    return prepare_cats(tmp_path / "cats", 10)


def planned(images: Path, models: dict[str, Path], folder: Path) -> set[str]:
    """Keys of all shards of codes that are to be made."""
    return {
        shard.key for shard in plan_codes.fn(PARAMS, models["parent"], images, folder, "cpu").todo
    }


def test_figures_of_the_whole_set_leave_all_codes_valid(images, models, tmp_path):
    before = planned(images, models, tmp_path)

    manifest = json.loads((images / MANIFEST_FILE).read_text())
    manifest["alignment"] = {"residual_mean": 0.5}
    (images / MANIFEST_FILE).write_text(json.dumps(manifest))

    assert planned(images, models, tmp_path) == before != set()


def test_a_conditional_parent_is_refused_before_an_encoder_is_fitted(images, conditional, tmp_path):
    with pytest.raises(DataError, match=r"draws by class .* sa.invert and sa.translate take c"):
        planned(images, {"parent": conditional}, tmp_path)


def test_some_images_of_each_split_are_a_sample_of_it(tmp_path, prepare_cats):
    dataset = open_dataset(prepare_cats(tmp_path / "cats", 120))
    params = PARAMS.model_copy(update={"max_images": 20})

    rows = choose_rows(dataset, params)

    for split in PARAMS.splits:
        ids, chosen = dataset.ids(split), rows.loc[rows["split"] == split, "id"].tolist()
        assert len(chosen) == min(20, len(ids))
        assert chosen == sorted(chosen)
    places = [dataset.ids("train").index(name) for name in rows["id"][rows["split"] == "train"]]
    assert max(places) > 20
    assert any(place > len(dataset.ids("train")) // 2 for place in places)
