"""Where a child stands at each of its snapshots, and which of them becomes the child."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from stylealign.alignment.standing import FixedCodes, Rule, Standing
from stylealign.data.choosing import choose_ids
from stylealign.data.dataset import ImageDataset
from stylealign.errors import DataError
from stylealign.metrics.cached_features import BATCH_SIZE, cached_features
from stylealign.metrics.features import collect_features, load_extractor
from stylealign.models import Model
from stylealign.params import StandingParams
from stylealign.training import Training
from stylealign.training.snapshot import SnapshotFiles, load_state

EXTRACTOR = "lite2"


class Standings:
    """Measures a child in training, and keeps the snapshot that the rule takes.

    What it measures lies in the training's own state, so a run that goes on, or falls back, has
    what belongs to the kimg it is at. It draws nothing from the rng of the training. Features of
    the real images are kept in the folder `features`, if one is given. With `choose` "last" the
    last snapshot becomes the child, whatever the rule says. `ids` are the images that it is
    trained on, if these are not all of the training split.

    Raises: DataError if these are fewer than two images.
    """

    def __init__(
        self,
        training: Training,
        parent: Model,
        dataset: ImageDataset,
        params: StandingParams | None = None,
        *,
        ids: list[str] | None = None,
        choose: Literal["rule", "last"] = "rule",
        features: Path | None = None,
    ) -> None:
        params = params or StandingParams()
        self.training, self.choose = training, choose
        self.settings = params.model_dump(mode="json")
        self.rule = Rule(tolerance=params.tolerance, margin=params.margin)
        ids = dataset.ids("train") if ids is None else ids
        chosen = choose_ids(ids, params.num_codes, params.seed)
        device = str(parent.generator.w_avg.device)
        extractor = load_extractor(EXTRACTOR, resolution=params.feature_resolution)
        if features is None:
            real = collect_features(dataset.batches(chosen, BATCH_SIZE), extractor, device=device)
        else:
            real = cached_features(dataset, chosen, extractor, features, device=device)
        classes, num = training.classes, params.num_codes
        self.codes = FixedCodes(
            parent,
            real,
            extractor,
            num_codes=num,
            num_looked_at=params.num_looked_at,
            c=None if classes is None else classes.of_images(dataset, chosen, num),
            portions=training.portions,
            seed=params.seed,
        )

    @property
    def all(self) -> list[Standing]:
        """Standings of the course so far with these settings, in the order of their kimg."""
        return [Standing(**figures) for figures in self.training.measured(self.settings)]

    def measure(self) -> Standing:
        """Note where the child stands now, and which snapshots must not be lost."""
        training = self.training
        standing = self.codes.measure(training.model, training.kimg, with_groups=True)
        training.note_measured(asdict(standing), self.settings)
        if self.choose == "rule":
            training.contenders = [one.kimg for one in self.rule.contenders(self.all)]
        return standing

    def keep(self, snapshot: str | Path) -> Standing:
        """Make the snapshot that is to be kept the child, networks and kimg.

        Raises: CheckpointError if it is no longer there; DataError if nothing was measured.
        """
        training, standings = self.training, self.all
        if not standings:
            message = "no snapshot was measured, so none can be chosen"
            raise DataError(f"{message}: pass on_snapshot=standings.measure to train")
        kept = self.rule.choose(standings) if self.choose == "rule" else standings[-1]
        if kept.kimg != training.kimg:
            training.restore_networks(load_state(SnapshotFiles(Path(snapshot)).at(kept.kimg))[0])
        training.model.config = training.model.config.model_copy(update={"kimg": kept.kimg})
        return kept

    def summary(self, kept: Standing) -> Mapping[str, Any]:
        """What `standings.json` holds: what was kept by which rule, figures of every snapshot."""
        return {
            "kept_kimg": kept.kimg,
            "choose": self.choose,
            "settings": self.settings,
            "standings": [{"kimg": one.kimg, **one.figures()} for one in self.all],
        }
