"""Who asks for bfloat16 where it is imitated can be told."""

from pathlib import Path

import pytest
import torch

from stylealign.models.precision import is_imitated

FLAGS = Path("/proc/cpuinfo")


def test_float32_is_never_imitated_and_bfloat16_not_on_a_gpu():
    assert not is_imitated("float32", torch.device("cpu"))
    assert not is_imitated("bfloat16", torch.device("cuda"))


@pytest.mark.skipif(not FLAGS.exists(), reason="the system does not list what its processor can")
def test_bfloat16_is_imitated_by_a_processor_without_avx512():
    is_wide = "avx512bw" in FLAGS.read_text("utf-8") or "bf16" in FLAGS.read_text("utf-8")

    assert is_imitated("bfloat16", torch.device("cpu")) is not is_wide
