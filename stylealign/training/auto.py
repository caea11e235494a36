"""Settings that follow from resolution and number of devices, where nobody has better ones."""

from stylealign.models.config import ModelConfig, channels_from_base
from stylealign.recipe import Recipe


def auto_batch_size(resolution: int, *, num_devices: int = 1) -> int:
    """Images per step that fit common devices: 32 per device up to 128 pixels, 64 at most."""
    per_device = min(4096 // resolution, 32)
    return max(min(num_devices * per_device, 64), num_devices)


def auto_recipe(resolution: int, *, total_kimg: float, num_devices: int = 1) -> Recipe:
    """A recipe for any resolution, from scratch or for fine-tuning; adjust `r1_gamma` first.

    Source: the automatic configuration of stylegan2-ada-pytorch (arXiv:2006.06676), which has
        no part of its own for what keeps a child aligned: those fields stay off.
    """
    return Recipe(
        total_kimg=total_kimg,
        tick_kimg=min(4.0, total_kimg / 10),
        snapshot_kimg=min(10.0, total_kimg / 5),  # a choice among several in a short run too
        batch_size=auto_batch_size(resolution, num_devices=num_devices),
        g_lr="auto",
        d_lr="auto",
        r1_gamma="auto",
        pl_weight=2.0,
        pl_interval=4,
        style_mixing=0.9,
        ema_kimg="auto",
        w_avg_beta=0.995,
        augment="bgc",
    )


def auto_config(resolution: int, *, c_dim: int = 0, num_devices: int = 1) -> ModelConfig:
    """Networks for training from scratch at any resolution.

    Source: as `auto_recipe`; half the width below 512 pixels, two mapping layers.
    """
    batch_size = auto_batch_size(resolution, num_devices=num_devices)
    channel_base = 32768 if resolution >= 512 else 16384
    return ModelConfig(
        resolution=resolution,
        c_dim=c_dim,
        num_mapping_layers=2,
        channels=channels_from_base(resolution, channel_base=channel_base),
        mbstd_group_size=min(batch_size // num_devices, 4),
    )
