"""State dicts of a generator, by our names of the networks, wherever a file keeps them."""

from typing import Any, Final

from stylealign.checkpoints.unpickle import describe
from stylealign.errors import CheckpointError

NETWORKS: Final = {
    "G_ema": ("g_ema", "params_ema", "generator"),
    "G": ("g",),
    "D": ("d",),
}
"""Keys under which files keep a network, first choice first."""
_ENCODER_FILE: Final = "state_dict"
_DECODER: Final = "decoder."
"""Prefix of the generator's names in files of encoders, such as pSp's and e4e's."""
_PARALLEL: Final = "module."
"""Prefix of all names, where a network was saved inside torch's DataParallel."""
_FIRST_TENSOR: Final = "input.input"


def find_state_dicts(checkpoint: dict[str, Any], source: str) -> dict[str, dict[str, Any]]:
    """The state dicts of a file, `G_ema` and, where present, `G` and `D`.

    A file may hold them under keys, inside an encoder's, or be one itself. Where only the
    generator as trained is there, it stands for the average.

    Raises: CheckpointError naming the file if there is no generator, or a network no dict.
    """
    if not {_FIRST_TENSOR, _PARALLEL + _FIRST_TENSOR}.isdisjoint(checkpoint):
        return {"G_ema": _unwrapped(checkpoint, source)}
    found = {
        ours: _unwrapped(checkpoint[key], f"{source}: {key}")
        for ours, keys in NETWORKS.items()
        if (key := next((key for key in keys if checkpoint.get(key) is not None), None))
    }
    if "G" in found and "G_ema" not in found:  # as those publish who average no weights
        found["G_ema"] = found.pop("G")
    if "G_ema" not in found and _ENCODER_FILE in checkpoint:
        found |= _decoder(checkpoint[_ENCODER_FILE], f"{source}: {_ENCODER_FILE}")
    if "G_ema" not in found:
        keys = ", ".join(repr(key) for network in ("G_ema", "G") for key in NETWORKS[network])
        message = f"{source!r} holds no network 'G_ema', and no state dict {keys}"
        raise CheckpointError(message)
    return found


def _decoder(state: object, source: str) -> dict[str, dict[str, Any]]:
    """The generator inside an encoder's state dict, if there is one."""
    tensors = {
        name.removeprefix(_DECODER): tensor
        for name, tensor in _unwrapped(state, source).items()
        if name.startswith(_DECODER)
    }
    return {"G_ema": tensors} if tensors else {}


def _unwrapped(state: object, source: str) -> dict[str, Any]:
    """The entries that have names, without the prefix that all of them have."""
    if not isinstance(state, dict):
        message = f"{source!r} is {describe(state)}, not a state dict"
        raise CheckpointError(message)
    named = {name: tensor for name, tensor in state.items() if isinstance(name, str)}
    if not all(name.startswith(_PARALLEL) for name in named):
        return named
    return {name.removeprefix(_PARALLEL): tensor for name, tensor in named.items()}
