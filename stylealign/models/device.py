"""Whether a device is there, and which one is taken where none is named."""

import torch

from stylealign.errors import ParamsError
from stylealign.models.precision import convolve_exactly


def require_device(
    device: str | torch.device, name: str = "device", advice: str = "choose cpu"
) -> None:
    """Refuse a device that torch does not know, or a GPU that it does not find.

    Raises: ParamsError that calls it by this name.
    """
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise ParamsError(f"{name} is {str(device)!r}, expected cpu or cuda") from None
    num_found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted.type == "cuda" and (wanted.index or 0) >= num_found:
        found = f"{num_found or 'no'} CUDA device{'s' if num_found > 1 else ''}"
        raise ParamsError(
            f"{name} is {str(device)!r}, but torch {torch.__version__} finds {found}: {advice}, "
            "or mend the driver or the build of torch"
        )


def choose_device(wanted: str, name: str) -> str:
    """The device that is wanted; `auto` takes the first CUDA device, or the CPU without one.

    Raises: ParamsError as `require_device`.
    """
    convolve_exactly()
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    require_device(wanted, name, "set it to auto or cpu")
    return wanted
