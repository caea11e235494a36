"""Sections that carry labels across: transfer, evaluation, and the gate in front of users."""

from typing import Literal

from pydantic import Field

from stylealign.params.section import Count, Name, Section, Seed, Share


class TransferParams(Section):
    """The labelled child data set."""

    labels: tuple[Name, ...]
    """Labels that are carried over."""
    min_reconstruction: float
    """PSNR of the inversion from which a row is accepted, in dB."""
    min_confidence: Share
    """Confidence from which a row is accepted."""
    reader_steps: Count
    """Optimisation steps of the parent-domain reader that checks consistency."""
    shard_size: Count
    seed: Seed


class ChildSetsParams(Section):
    """Labelled child data that nothing but the evaluation may see."""

    oracle: Name
    """Real labelled child images that the oracle arm learns from."""
    test: Name
    """Real labelled child images on which every arm is scored."""


class EvaluateParams(Section):
    """How much of the gap between parent labels and child labels the transfer closes."""

    labels: tuple[Name, ...]
    children: dict[Name, ChildSetsParams]
    """Per child with labelled data; children left out get image quality only."""
    num_train: Count
    """Images that each arm learns from."""
    num_steps: Count
    """Optimisation steps of each arm."""
    seeds: tuple[Seed, ...] = Field(min_length=1)
    """One model per arm and seed."""
    source_arms: tuple[Literal["plain", "augmented", "coral"], ...] = Field(min_length=1)
    """The strongest on the parent's validation split is source_only."""
    feature_extractor: str
    num_features: Count
    """Real and generated images compared by fd and kid."""
    num_bootstrap: Count


class QualityParams(Section):
    """What a child must reach before the alias `champion` moves to it."""

    max_fd: float = Field(gt=0)
    """Greatest Fréchet distance to the child's data, by the evaluation's extractor."""
    min_accepted: Share
    """Smallest share of accepted rows in the transferred set."""
    min_gain: float
    """Smallest mean gain over source_only, where labelled child data exist."""
