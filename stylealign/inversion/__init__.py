"""Inversion: from images to the codes that draw them again."""

from stylealign.inversion.encoder import Encoder, load_encoder
from stylealign.inversion.fitting import EncoderTick, fit_encoder
from stylealign.inversion.noise import draw_noise_maps
from stylealign.inversion.optimize import Inversion, invert

__all__ = [
    "Encoder",
    "EncoderTick",
    "Inversion",
    "draw_noise_maps",
    "fit_encoder",
    "invert",
    "load_encoder",
]
