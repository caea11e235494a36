"""Generators as `torch.export` programs, which run without this package."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from stylealign.models.generator import Generator
from stylealign.models.latents import Labels, WPlus, Z


@dataclass(frozen=True)
class ExportedGenerator:
    """Two programs for any batch; `torch.export.save` writes them, `.module()` runs them.

    Shapes: mapping z [N, z_dim], and c [N, c_dim] where there are classes, -> [N, num_ws, w_dim];
        synthesis w_plus [N, num_ws, w_dim] -> [N, channels, R, R].
    """

    mapping: ExportedProgram
    synthesis: ExportedProgram


def export_generator(generator: Generator, *, truncation_psi: float = 1.0) -> ExportedGenerator:
    """Mapping with a fixed truncation and synthesis with constant noise, as programs.

    Weights become part of the programs; the generator itself stays as it is.
    """
    network, w_avg = generator.mapping.network, generator.w_avg
    batch = {0: Dim("batch")}
    inputs = [w_avg.new_zeros(2, network.z_dim)]
    if network.c_dim:
        inputs.append(w_avg.new_zeros(2, network.c_dim))
    w_plus = w_avg.new_zeros(2, generator.mapping.num_ws, len(w_avg))
    with torch.no_grad():
        return ExportedGenerator(
            _export(_Mapping(generator, truncation_psi), tuple(inputs), (batch,) * len(inputs)),
            _export(_Synthesis(generator), (w_plus,), (batch,)),
        )


class _Mapping(nn.Module):
    def __init__(self, generator: Generator, truncation_psi: float) -> None:
        super().__init__()
        self.mapping, self.truncation_psi = generator.mapping, truncation_psi

    def forward(self, z: Z, c: Labels | None = None) -> WPlus:
        return self.mapping(z, c, truncation_psi=self.truncation_psi)


class _Synthesis(nn.Module):
    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.synthesis = generator.synthesis

    def forward(self, w_plus: WPlus) -> torch.Tensor:
        return self.synthesis(w_plus)


def _export(module: nn.Module, inputs: tuple[Any, ...], shapes: tuple[Any, ...]) -> ExportedProgram:
    return torch.export.export(module, inputs, dynamic_shapes=shapes)
