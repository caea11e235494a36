"""Sections that carry labels across: transfer, evaluation, and the gate in front of users."""

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
    encoder_kimg: float = Field(gt=0)
    """Samples on which the child's encoder is fitted."""
    cycle_steps: Count
    """Descent steps that lead a child image back to a code."""
    num_calibration: Count
    """Parent hold-outs, redrawn by the parent, that confidence is calibrated on."""
    num_witnesses: Count
    """Real child images, and as many drawn ones, on which readers of the transferred labels are
    compared; fewer than 50 prove nothing and are not heard."""
    batch_size: Count
    shard_size: Count
    seed: Seed


class ChildSetsParams(Section):
    """Labelled child data that nothing but the evaluation may see."""

    oracle: Name | None = None
    """Real labelled child images that the oracle arm learns from, and that the analysis reads
    children with; None = the oracle is cross-fitted inside `test`, and nothing else sees it."""
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
    latent_steps: Count
    """Descent steps that lead a real child image back to a code, for the latent route."""
    seeds: tuple[Seed, ...] = Field(min_length=1)
    """One model per arm and seed."""
    feature_extractor: str
    feature_resolution: int = Field(ge=32)
    """Side in pixels at which the extractor sees every image."""
    num_features: Count
    """Real and generated images compared by fd and kid."""
    num_bootstrap: Count


class QualityParams(Section):
    """What a child must reach before the alias `champion` moves to it."""

    max_fd_ratio: float = Field(gt=0)
    """Greatest Fréchet distance of the child's samples to its data, divided by that of the
    parent's samples to the same data: 1 is where the fine-tuning began."""
    min_accepted: Share
    """Smallest share of accepted rows in the transferred set."""
    min_gain: float
    """Smallest mean gain over source_only, where labelled child data exist."""
