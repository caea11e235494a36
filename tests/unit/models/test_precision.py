"""Who asks for bfloat16 where it is imitated can be told."""

from pathlib import Path

import pytest
import torch

from stylealign.models.precision import is_imitated

FLAGS = Path("/proc/cpuinfo")


@pytest.mark.parametrize("has_units", [True, False])
def test_float32_is_never_imitated_and_bfloat16_by_gpus_without_units_for_it(
    has_units, monkeypatch
):
    def is_supported(including_emulation: bool = True) -> bool:
        return has_units or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)

    assert not is_imitated("float32", torch.device("cpu"))
    assert not is_imitated("float32", torch.device("cuda"))
    assert is_imitated("bfloat16", torch.device("cuda")) is not has_units


@pytest.mark.skipif(not FLAGS.exists(), reason="the system does not list what its processor can")
def test_bfloat16_is_imitated_by_a_processor_without_avx512():
    is_wide = "avx512bw" in FLAGS.read_text("utf-8") or "bf16" in FLAGS.read_text("utf-8")

    assert is_imitated("bfloat16", torch.device("cpu")) is not is_wide
