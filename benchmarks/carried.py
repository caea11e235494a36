"""Labels carried from drawn people to drawn cats, and the gap they close: the pipeline in small."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import load_file, save_file

from benchmarks.drawn import drawn, schema_of
from stylealign.data.procedural import Domain
from stylealign.inversion import invert
from stylealign.metrics.arms import LabelledImages
from stylealign.metrics.gap import measure_gap
from stylealign.models import Latents, Model
from stylealign.tensors import to_uint8
from stylealign.translation import translate

NUM_PEOPLE, NUM_ORACLE, NUM_TEST, NUM_UNLABELLED = 600, 800, 600, 600
INVERSION_STEPS = 60
BATCH_SIZE = 100
READER_STEPS = 200
"""As the demo: readers of one seed, so figures compare recipes and are no headline."""


@dataclass(frozen=True, kw_only=True)
class Carrier:
    """Labelled people and their codes in one parent: the same for every child of it."""

    people: LabelledImages
    codes: Latents

    def gap_closed(self, child: Model, names: tuple[str, ...], seed: int) -> dict[str, float]:
        """Share of the gap that the data route closes, of each label that has a gap to close.

        The oracle, the test set and the unlabelled cats are images that no child saw.
        """
        redrawn = LabelledImages(
            images=to_uint8(translate(self.codes, child)), labels=self.people.labels
        )
        gaps = measure_gap(
            labelled("cats", NUM_TEST, seed=22),
            {name: spec for name, spec in schema_of("cats").items() if name in names},
            source=self.people,
            transfer=redrawn,
            oracle=labelled("cats", NUM_ORACLE, seed=21),
            target_images=drawn("cats", NUM_UNLABELLED, seed=23)[0],
            seeds=[seed],
            num_steps=READER_STEPS,
            rng=np.random.default_rng(seed),
            num_resamples=200,
        )
        closed = {name: gap["gap_closed"] for name, gap in gaps.items()}
        return {name: share for name, share in closed.items() if share is not None}


def find_codes(parent: Model, folder: Path) -> Carrier:
    """Invert the people into w_plus, and keep their codes in `folder`, which is of this parent."""
    people = labelled("people", NUM_PEOPLE, seed=24)
    path = folder / "codes.safetensors"
    if not path.exists():
        parts = [
            invert(
                people.images[start : start + BATCH_SIZE],
                parent,
                space="w_plus",
                num_steps=INVERSION_STEPS,
                seed=start,
            ).latents.codes
            for start in track(range(0, NUM_PEOPLE, BATCH_SIZE), "invert")
        ]
        save_file({"codes": torch.cat(parts)}, path)
    config = parent.config
    codes = Latents(load_file(path)["codes"], "w_plus", config.id, config.root_id or config.id)
    return Carrier(people=people, codes=codes)


def labelled(domain: Domain, num: int, *, seed: int) -> LabelledImages:
    """Images of a domain with their true labels."""
    images, labels = drawn(domain, num, seed=seed)
    return LabelledImages(images=images, labels=labels)
