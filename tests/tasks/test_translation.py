"""Which drawings of an earlier run stay valid, and what they are drawn from."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stylealign.data.dataset import open_dataset
from stylealign.data.labels import parse_schema
from stylealign.data.prepare import prepare
from stylealign.data.procedural import label_schema
from stylealign.data.sources import ProceduralSource
from stylealign.errors import DataError
from stylealign.params import InvertParams, TranslateParams
from tasks.inversion import finish_codes, invert_shard, plan_codes, read_codes
from tasks.layout import ChildPlaces
from tasks.translation import finish_translation, plan_translation, translate_shard

INVERT = InvertParams(
    dataset="cats", max_images=None, space="w_plus", num_steps=1, learning_rate=1e-4,
    perceptual_weight=0.0, spread_weight=0.0, prior_weight=0.0, num_candidates=4, encoder_kimg=0,
    batch_size=4, shard_size=4, min_psnr=-100.0, seed=0, splits=("train", "val", "test"),
)  # fmt: skip
TRANSLATE = TranslateParams(truncation_psi=1.0, batch_size=4, shard_size=3)


@pytest.fixture
def places(models, tmp_path) -> ChildPlaces:
    """Where a child's images would come to lie; nothing is there yet."""
    names = ("images", "codes", "real", "translated", "transferred", "instruments")
    folders = {name: tmp_path / name for name in names}
    return ChildPlaces(name="cats", parent=models["parent"], child=models["child"], **folders)


def prepare_some(folder: Path, num: int, **settings: Any) -> None:
    """Prepare drawn cats for the models' 16 pixels."""
    prepare(
        ProceduralSource("cats", num, seed=0, resolution=32), folder, resolution=16,
        schema=parse_schema(label_schema("cats")), seed=0, shard_size=100,
        fractions={"train": 1.0, "val": 0.0, "test": 0.0}, max_rejected_fraction=0.0, **settings,
    )  # fmt: skip


@pytest.fixture
def run(places, monkeypatch) -> Callable[..., pd.DataFrame]:
    """Prepare, invert and translate ten drawn cats without a server; the table of what came out."""
    for module in ("tasks.inversion", "tasks.translation"):
        monkeypatch.setattr(f"{module}.compute", nullcontext)

    def run(*, min_psnr: float = -100.0, **settings: Any) -> pd.DataFrame:
        prepare_some(places.images, 10, **settings)
        params = INVERT.model_copy(update={"min_psnr": min_psnr})
        plan = plan_codes.fn(params, places.parent, places.images, places.codes, "cpu")
        inputs = params, places.parent, places.images, None, places.codes, "cpu", 1
        for shard in plan.todo:
            invert_shard.fn(shard, *inputs)
        finish_codes.fn(plan, places.parent, places.images, places.codes / "invert.json")
        drawn = plan_translation.fn(TRANSLATE, places)
        for shard in drawn.todo:
            translate_shard.fn(shard, TRANSLATE, places, "cpu", 1)
        finish_translation.fn(drawn, places)
        return open_dataset(places.translated).table()

    return run


def test_a_second_run_has_nothing_to_draw(run, places):
    run()

    assert plan_translation.fn(TRANSLATE, places).todo == ()


def test_drawings_carry_the_groups_of_today(run, places):
    before = run()

    after = run(group_column="yaw")

    origin = open_dataset(places.images).table()
    assert after["group"].tolist() == origin["group"].tolist() != before["group"].tolist()


def test_drawings_say_whether_their_codes_converged_by_todays_threshold(run):
    assert run()["converged"].all()

    assert not run(min_psnr=100.0)["converged"].any()


def test_only_the_shards_of_codes_that_are_asked_for_are_read(run, places):
    run()
    ids = read_codes(places.codes)["id"].tolist()

    some = read_codes(places.codes, ids[5:6])

    assert some["id"].tolist() == ids[4:8]


def test_a_code_whose_image_is_gone_is_no_silent_loss(run, places):
    run()
    prepare_some(places.images, 7)

    with pytest.raises(DataError, match=r"3 of 10 codes .* are of images that .* `invert`"):
        plan_translation.fn(TRANSLATE, places)


def test_a_folder_without_codes_is_named(tmp_path: Path):
    with pytest.raises(DataError, match="holds no such codes; run stage `invert`"):
        read_codes(tmp_path / "codes")
