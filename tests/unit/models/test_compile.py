"""`torch.compile` of a generator: never needed, and the same images where it is asked for."""

import shutil
import subprocess
import sys

import pytest

DRAW_TWICE = """
import torch
from stylealign.models import Model, ModelConfig
from stylealign.models.frozen import frozen

torch.manual_seed(0)
channels = dict.fromkeys((4, 8, 16, 32), 128)
synthesis = Model.new(
    ModelConfig(resolution=32, z_dim=16, w_dim=16, channels=channels)
).generator.synthesis
w_plus = torch.randn(2, 8, 16)
with torch.no_grad():
    images, expected = torch.compile(synthesis)(w_plus), synthesis(w_plus)
gradients = []
w_plus.requires_grad_()
for function in (torch.compile(synthesis, backend="aot_eager"), synthesis):
    with frozen(synthesis):
        gradients.append(torch.autograd.grad(function(w_plus, noise="const").sum(), w_plus)[0])
difference = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
print(max(float((images - expected).abs().max()), float(difference)))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_synthesis_draws_the_same_images():
    """In a process of its own: shape checks of the test run are not for compilers."""
    command = [sys.executable, "-c", DRAW_TWICE]

    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 5e-5
