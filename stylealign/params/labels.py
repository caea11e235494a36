"""Sections that carry labels across: transfer, evaluation, and the gate in front of users."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from stylealign.params.section import Count, Name, Section, Seed, Share


class TransferParams(Section):
    """The labelled child data set."""

    labels: tuple[Name, ...]
    """Labels that are carried over."""
    carry: Literal["given", "redrawn"]
    """Labels as they were given, or moved to what the parent's redrawing shows of them."""
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
    compared, and pairs of parent and child images that show what of a label is left; fewer than 50
    prove nothing and are not heard."""
    batch_size: Count
    shard_size: Count
    seed: Seed


class ChildSetsParams(Section):
    """Labelled child data that nothing but the evaluation may see."""

    oracle: Name | None = None
    """Real labelled child images that the oracle arm learns from, and that children are read with,
    while they train and by the analysis; None = the oracle is cross-fitted inside `test`, and
    nothing else sees it."""
    test: Name
    """Real labelled child images on which every arm is scored."""


class WeightsParams(Section):
    """Weights of a published network, on this machine; nothing is downloaded."""

    path: Path
    """A state dict: `.safetensors`, or what `torch.save` wrote. No TorchScript."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Hash of the file, so that figures never silently mean another network."""


class EvaluateParams(Section):
    """How much of the gap between parent labels and child labels the transfer closes."""

    labels: tuple[Name, ...]
    controls: tuple[Name, ...] = ()
    """Transferred labels that the child's domain has no counterpart of, which a good transfer
    refuses: they are shown as negative controls."""
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
    feature_extractor: Literal["lite2", "inception", "vgg16"]
    feature_resolution: int = Field(ge=32)
    """Side in pixels at which the extractor sees every image: 299 for `inception`, 224 for
    `vgg16`."""
    feature_weights: WeightsParams | None = None
    """The user's own weights of `inception` or `vgg16`; None for `lite2`, which brings its own."""
    num_features: Count
    """Real and generated images compared by fd and kid."""
    num_paths: int = Field(default=0, ge=0)
    """Paths between codes along which ppl is measured; 0 = not at all."""
    num_bootstrap: Count

    @model_validator(mode="after")
    def _controls_have_no_truth(self) -> "EvaluateParams":
        """Real child images that have a label would make it no control."""
        both = [name for name in self.controls if name in self.labels]
        if both:
            message = f"{both[0]!r} is in labels and in controls, which no real child image has"
            raise ValueError(f"{message}: leave it out of one of the two")
        return self

    @model_validator(mode="after")
    def _weights_meet(self) -> "EvaluateParams":
        """Weights are given exactly where the extractor does not bring them."""
        name, is_given = self.feature_extractor, self.feature_weights is not None
        if is_given == (name == "lite2"):
            wanted = "takes no feature_weights" if is_given else "needs feature_weights"
            message = f"feature_extractor {name!r} {wanted}: lite2 brings its own weights, "
            raise ValueError(f"{message}inception and vgg16 need path and sha256 of yours")
        return self


class QualityParams(Section):
    """What a child must reach before the alias `champion` moves to it."""

    max_fd_ratio: float = Field(gt=0)
    """Greatest Fréchet distance of the child's samples to its data, divided by that of the
    parent's samples to the same data: 1 is where the fine-tuning began."""
    min_accepted: Share
    """Smallest share of accepted rows in the transferred set."""
    min_gain: float
    """Smallest mean gain over source_only, where labelled child data exist."""
