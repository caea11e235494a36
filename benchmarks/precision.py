"""Inversions whose descent draws in bfloat16, against the same in float32."""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

import stylealign as sa
from benchmarks.peers.contenders import model_config, new_model
from stylealign.models import Model
from stylealign.models.allocator import keep_freed_memory
from stylealign.models.latents import Images
from stylealign.models.precision import Precision


def main(
    model: Annotated[
        Path | None, typer.Option(help="Model folder; without, a wide random one of 64 pixels.")
    ] = None,
    num_images: int = 16,
    steps: int = 100,
    threads: int = 1,
) -> None:
    """Invert samples of the model itself with either precision, and print one record."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    parent = new_model(model_config(64)) if model is None else sa.load_model(model)
    images = draw_samples(parent, num_images)
    exact, rounded = (psnr_of(images, parent, steps, name) for name in ("float32", "bfloat16"))
    difference = rounded - exact
    record: dict[str, Any] = {
        "model": "random" if model is None else str(model),
        "images": num_images,
        "steps": steps,
        "psnr_float32": float(exact.mean()),
        "psnr_bfloat16": float(rounded.mean()),
        "difference_mean": float(difference.mean()),
        "difference_standard_error": float(difference.std() / num_images**0.5),
    }
    Console().print_json(json.dumps(record))


@torch.no_grad()
def draw_samples(model: Model, num_images: int) -> Images:
    """Images that the model can draw, from codes that the inversion's start does not hold."""
    rng = torch.Generator().manual_seed(7)
    return model.generator(torch.randn(num_images, model.config.z_dim, generator=rng))


def psnr_of(images: Images, model: Model, steps: int, precision: Precision) -> torch.Tensor:
    """PSNR of each inversion, drawn in float32."""
    result = sa.invert(images, model, space="w_plus", num_steps=steps, precision=precision)
    return result.psnr


if __name__ == "__main__":
    typer.run(main)
