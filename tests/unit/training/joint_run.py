"""A short training of its own, as one process of several: `torchrun joint_run.py FOLDER`."""

import copy
import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed

from stylealign.errors import CheckpointError
from stylealign.models import Model, ModelConfig
from stylealign.recipe import Recipe
from stylealign.training import Training, train
from stylealign.training.split import Split


class Batch:
    """Real images of one process."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images


class Share:
    """Every process's stride of a joint batch that is noise."""

    def __init__(self, split: Split) -> None:
        self.position, self.split = 0, split

    def __next__(self) -> Batch:
        rng = torch.Generator().manual_seed(self.position)
        self.position += 1
        joint = torch.randn(8, 3, 8, 8, generator=rng)
        return Batch(joint[self.split.rank :: self.split.num_ranks])

    def state_dict(self) -> dict[str, int]:
        """Where it stands."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self.position = state["position"]


def begin(split: Split) -> Training:
    """A child in training by plain gradient descent, as Adam's first steps magnify rounding."""
    torch.manual_seed(split.rank)  # replicas start from the first one's weights all the same
    widths = {4: 8, 8: 8}
    config = ModelConfig(
        resolution=8, z_dim=4, w_dim=4, num_mapping_layers=2, channels=widths, mbstd_group_size=2
    )
    model = Model.new(config)
    torch.manual_seed(9)
    parent = Model.new(config).generator
    recipe = Recipe(
        total_kimg=0.064, tick_kimg=0.016, snapshot_kimg=0.032, batch_size=8, pl_weight=1.0,
        pl_interval=2, r1_interval=3, style_mixing=0.5, feature_weight=1.0, augment="bgc",
        augment_p=0.2, ada_kimg=1,
    )  # fmt: skip
    training = Training(model, copy.deepcopy(parent), recipe, split=split)
    training.g_optimizer = torch.optim.SGD(training.g_params, lr=0.01)
    training.d_optimizer = torch.optim.SGD(training.d_params, lr=0.01)
    return training


def weights_of(training: Training) -> list[float]:
    """One number per tensor of the averaged generator."""
    tensors = (*training.G_ema.parameters(), training.G.w_avg)
    return [tensor.double().sum().item() for tensor in tensors]


def stop_and_go_on(split: Split, snapshot: Path) -> tuple[list[int], list[float]]:
    """Images after a stop that the last process alone wants, and weights once it went on."""
    is_last = split.rank == split.num_ranks - 1
    stopped, resumed = begin(split), begin(split)
    for _ in train(stopped, Share(split), snapshot=snapshot, should_stop=lambda: is_last):
        pass
    for _ in train(resumed, Share(split), snapshot=snapshot):
        pass
    return [stopped.nimg, resumed.nimg], weights_of(resumed)


def go_on_apart(split: Split, snapshot: Path) -> str:
    """What is said where the first process alone sees the snapshots."""
    try:
        list(train(begin(split), Share(split), snapshot=snapshot))
    except CheckpointError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Train whole, stopped in between, and where processes see other files; write what came."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    split = Split(distributed.get_rank(), distributed.get_world_size())
    training = begin(split)
    for _ in train(training, Share(split), snapshot=folder / "run.safetensors"):
        pass
    places, resumed = stop_and_go_on(split, folder / "stopped.safetensors")
    place = folder if split.rank == 0 else folder / "nowhere"
    written = {
        "history": training.history,
        "weights": weights_of(training),
        "of_first": split.from_first(torch.tensor([split.rank + 5])).tolist(),
        "places": places,
        "resumed": resumed,
        "apart": go_on_apart(split, place / "run.safetensors"),
    }
    (folder / f"rank{split.rank}.json").write_text(json.dumps(written))
    distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]))
