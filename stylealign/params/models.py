"""Sections that make and use models: training, inversion, translation, analysis."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from stylealign.params.section import Count, LatentSpace, Name, Section, Seed, Share, Split
from stylealign.recipe import Recipe


class ArchitectureParams(Section):
    """The networks of a parent that is trained from scratch."""

    z_dim: Count
    w_dim: Count
    num_mapping_layers: Count
    channels: dict[int, int]
    """Width of the generator's block at each resolution, 4 up."""
    discriminator_channels: dict[int, int] = Field(default_factory=dict)
    """Width of the discriminator's block at each resolution; empty = as the generator."""
    noise: bool
    """Whether layers add noise inputs."""


class ShardsParams(Section):
    """Images to train on that stay where they are, such as in an object store.

    DVC does not see them: the content hash is what makes the stage stale.
    """

    url: str = Field(pattern=r"^[a-z][a-z0-9+.-]*://")
    """Folder of shards with their manifest, `s3://bucket/sets/cats` or the like."""
    content_hash: str = Field(pattern="^[0-9a-f]{64}$")
    """That of its manifest, so that other images are not taken for these."""

    @field_validator("url")
    @classmethod
    def _no_secret(cls, url: str) -> str:
        if "@" in url.split("://", 1)[-1].split("/", 1)[0]:
            raise ValueError(
                "credentials do not belong in an address, which goes into logs and records: leave "
                "out what stands before the @ (it is not shown here), and give it to the store by "
                "its own means, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        return url


class CoverageParams(Section):
    """How a parent in training is held against its data: by what a reader sees in both."""

    num_samples: Count = 2000
    """Samples of the parent that are read at each snapshot, and images of the data at most."""
    reader_steps: Count = 400
    """Optimisation steps of the reader, which is fitted once."""
    seed: Seed = 0


class TrainParentParams(Section):
    """The parent: given as a checkpoint (the stage stays frozen), or trained from a data set."""

    model: str
    """The parent: a folder or a checkpoint file, which DVC watches; where training writes."""
    dataset: Name
    """The data set of the parent's domain."""
    shards: ShardsParams | None = None
    """Train on these images instead of the prepared `dataset`."""
    architecture: ArchitectureParams | None = None
    """None where a checkpoint is given."""
    recipe: Recipe | None = None
    """None where a checkpoint is given."""
    coverage: CoverageParams | None = CoverageParams()
    """Whether its samples cover what the data shows; None = not measured."""

    @field_validator("model")
    @classmethod
    def _lies_in_the_project(cls, model: str) -> str:
        """DVC watches files: another version of a registered model would make no stage stale."""
        if model.startswith("models:/"):
            message = f"{model!r} lies in MLflow's registry, where DVC sees no change of it: set "
            message += "this to a folder, such as models/parent, and fill that once with "
            raise ValueError(f"{message}`stylealign convert {model} models/parent`")
        return model


class MatchParams(Section):
    """A choice among a child's images: those that the parent draws the like of.

    A reader of the parent's domain, fitted on colour-jittered images, reads what the parent draws
    and the child's images; no label of the child is looked at.
    """

    labels: tuple[Name, ...] = Field(min_length=1)
    """Labels of the parent's images whose spread is to be the same; those that the reader hardly
    guesses on its own domain do not count."""
    closeness: float = Field(default=0.8, gt=0, le=1)
    """How much of the parent's spread is followed: more keeps fewer images."""
    min_share: Share = 0.25
    """Share of the images kept in any case: where need be, the parent is followed less closely."""
    num_samples: Count = 4000
    """Drawings of the parent that are read."""
    reader_steps: Count = 400
    seed: Seed = 0


class TrainChildParams(Section):
    """One child: the parent fine-tuned on another domain."""

    dataset: Name
    """The data set of the child's domain; no label but `recipe.classes` is looked at."""
    shards: ShardsParams | None = None
    """Train on these images of the domain instead; all other stages see the prepared `dataset`."""
    match: MatchParams | None = None
    """Train on the images of it that the parent draws the like of; None = on all."""
    recipe: Recipe
    choose: Literal["rule", "last"] = "rule"
    """The snapshot that becomes the child: by section `standing`, or the last whatever it is."""

    @model_validator(mode="after")
    def _draws_what_it_shows(self) -> "TrainChildParams":
        """A conditional child draws classes as often as all images have them."""
        if self.match is not None and self.recipe.classes:
            message = "match would show other shares of recipe.classes than are drawn"
            raise ValueError(f"{message}: leave one of the two out")
        return self


class StandingParams(Section):
    """Where a child stands at each snapshot, and by what rule one of them is kept."""

    num_codes: int = Field(default=250, ge=3)
    """Fixed codes that parent and child draw, and real images they are held against at most."""
    num_looked_at: Count = 32
    """The first so many codes, whose perceptual change is measured by component group too."""
    feature_resolution: int = Field(default=64, ge=32)
    """Side in pixels at which the extractor sees every image."""
    tolerance: float = Field(default=0.1, ge=0)
    """Share by which a snapshot's Fréchet distance may exceed the best one's."""
    margin: float = Field(default=0.02, ge=0)
    """Likeness by which a snapshot must exceed the last one's to be taken in its place."""
    seed: Seed = 0


class InvertParams(Section):
    """Codes of the labelled parent images."""

    dataset: Name
    splits: tuple[Split, ...] = Field(default=("train", "val"), min_length=1)
    """Splits whose images are inverted; `test` stays unseen."""
    max_images: Count | None
    """Invert so many images of each split, by lot; None = all."""
    space: LatentSpace
    num_steps: Count
    learning_rate: float = Field(gt=0)
    perceptual_weight: float = Field(ge=0)
    spread_weight: float = Field(ge=0)
    """Holds the codes of one image's layers together; only for z_plus and w_plus."""
    prior_weight: float = Field(ge=0)
    """Holds codes near the mean one, where the model draws well; only for w and w_plus."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the first 85 % of the steps; bfloat16 is about twice as fast where there is a processor
    for it, and many times slower elsewhere."""
    num_candidates: Count
    """Samples of the model among which the nearest is the start, where there is no encoder."""
    encoder_kimg: float = Field(ge=0)
    """Samples on which the encoder that guesses the start is fitted; 0 = no encoder."""
    batch_size: Count
    shard_size: Count
    """Images per shard of codes: what a killed run loses at most."""
    min_psnr: float
    """An image counts as converged from here, in dB."""
    seed: Seed


class TranslateParams(Section):
    """The inverted images, drawn by each child."""

    truncation_psi: Share
    batch_size: Count
    shard_size: Count


class AnalyzeParams(Section):
    """What parent and child share, measured; while a child trains, readers go by it too."""

    num_samples: Count
    """Codes drawn for agreement at equal z."""
    labels: tuple[Name, ...]
    """Labels whose agreement is read; both domains must have readers for them."""
    reader_steps: Count
    """Optimisation steps of each attribute reader."""
    num_reset_samples: Count
    """Images on which each group's reset is measured."""
    direction_distance: float = Field(gt=0)
    """How far directions are followed, in standard deviations of the label."""
    num_bootstrap: Count
    batch_size: Count
    seed: Seed
