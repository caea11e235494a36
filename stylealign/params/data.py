"""Section `prepare`: where images come from, and what becomes of them."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from stylealign.params.section import Count, Name, Section, Seed, Share


class ProceduralParams(Section):
    """Images that are drawn from known attributes instead of read from files."""

    domain: Literal["people", "cats"]
    num_images: Count
    seed: Seed
    """Sets with different seeds share no attribute."""
    prevalence: dict[Name, dict[str, Share]] = Field(default_factory=dict)
    """Share of each value of a class label; labels left out are uniform."""


class SplitParams(Section):
    """How rows are dealt to the splits; a group is never torn apart."""

    train: Share
    val: Share
    test: Share

    @model_validator(mode="after")
    def _add_up(self) -> "SplitParams":
        total = self.train + self.val + self.test
        if abs(total - 1) > 1e-6:
            message = f"train, val and test must add up to 1, they add up to {total:g}"
            raise ValueError(message)
        return self


class AlignParams(Section):
    """A similarity transform that brings faces to where the parent model expects them."""

    label: Name
    """Keypoint or box label whose points are brought to the template."""
    points: dict[str, tuple[float, float]]
    """Where they shall lie, as fractions of the frame; of a box `top_left`, `bottom_right`."""
    max_residual: float = Field(gt=0)
    """Images that fit worse are rejected; root mean square, as a fraction of the frame."""


class PrepareParams(Section):
    """One data set: its source, its labels, and the size and splits it comes out with."""

    source: Path
    """What DVC watches: an image folder, a zip, a Parquet file, or a folder that holds them;
    for drawn sets the list of sources with their licences."""
    images: str | None = None
    """Image folder, zip or Parquet inside `source`; None = `source` itself."""
    labels: str | None = None
    """CSV, JSONL or Parquet table inside `source`; None = no labels, or those of the Parquet."""
    procedural: ProceduralParams | None = None
    """Draw the images instead; `images`, `labels` and `label_schema` stay empty."""
    label_schema: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    """Per label: type, values, unit, mirror, tolerance."""
    id_column: str | None = None
    """Column of the label table that names the image; None = `id`, `file`, `path` or the like."""
    group_column: str | None = None
    """Column whose equal values stay in one split (identity, scene); None = near-duplicates."""
    split_column: str | None = None
    """Column that holds the split of each row; dealt by `split` and `seed` where it holds none."""

    resolution: int = Field(ge=8, le=1024)
    """Side of the square images, a power of two; in pixels."""
    min_side: Count | None = None
    """Smaller originals are rejected, in pixels; None = `resolution`."""
    align: AlignParams | None = None
    """None = the largest centred square."""
    split: SplitParams
    seed: Seed
    shard_size: Count
    """Images per Parquet shard."""
    allow_unlabelled: bool = True
    """Keep images that the label table does not name."""
    near_duplicate_bits: int = Field(ge=0, le=256)
    """Images whose perceptual hashes differ in at most so many of 256 bits share a split."""
    max_rejected: Share
    """More than this share of unusable images fails the stage."""

    @model_validator(mode="after")
    def _one_source(self) -> "PrepareParams":
        if self.resolution & (self.resolution - 1):
            message = f"resolution must be a power of two, got {self.resolution}"
            raise ValueError(message)
        if self.procedural and (self.images or self.labels or self.label_schema):
            message = "a procedural set brings its own images and labels: leave them out"
            raise ValueError(message)
        return self
