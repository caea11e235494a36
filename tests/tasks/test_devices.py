"""Which device is taken, and that a stage has it alone."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch

from stylealign.errors import ParamsError
from tasks import devices
from tasks.devices import choose_device, compute
from tasks.pictures import find_device


@pytest.fixture
def own_settings():
    before = torch.backends.cudnn.allow_tf32, torch.get_num_threads()
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_num_threads(before[1])


@pytest.mark.usefixtures("own_settings")
@pytest.mark.parametrize(("has_cuda", "found"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_the_first_gpu_or_the_cpu(has_cuda, found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)

    assert choose_device("auto") == find_device("auto") == found
    assert choose_device("cpu") == "cpu"


@pytest.mark.usefixtures("own_settings")
def test_a_gpu_that_is_not_there_is_refused_by_the_name_of_the_param(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(ParamsError, match=r"is 'cuda', but torch .* set it to auto or cpu"):
        choose_device("cuda")
    with pytest.raises(ParamsError, match=r"\(--device, or project.device\) is 'cuda', but torch"):
        find_device("cuda")


@pytest.mark.usefixtures("own_settings")
@pytest.mark.parametrize("choose", [choose_device, find_device])
def test_whoever_chooses_a_device_convolves_in_whole_float32(choose):
    choose("auto")

    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.usefixtures("own_settings")
def test_stages_take_turns_also_where_there_are_several_gpus(monkeypatch):
    limits = {}

    @contextmanager
    def client(**_):
        yield SimpleNamespace(
            upsert_global_concurrency_limit_by_name=limits.__setitem__,
            read_global_concurrency_limit_by_name=lambda name: SimpleNamespace(
                active_slots=0, limit=limits[name]
            ),
        )

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(devices, "get_client", client)
    monkeypatch.setattr(devices, "concurrency", lambda *_, **__: nullcontext())

    with compute(1):
        assert limits == {devices.LIMIT: 1}
