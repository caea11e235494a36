"""How a joint batch is dealt to processes, and in each process to parts that fit into memory.

Every process draws the codes and the noise of the whole joint batch from the same rng and keeps
its own, so that several processes, or a batch in parts, compute what one process computes with
the whole batch, to rounding. Images are dealt in strides: with N images and minibatch-stddev
groups of size g, image i is grouped with i + k * N / g, and a stride that divides N / g keeps
every group whole.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, distributed, nn

from stylealign.errors import CheckpointError, ParamsError


@dataclass
class Split:
    """This process among all, and the parts in which it works through its images.

    Training draws what it needs for the joint batch and takes `parts` of it; averages of equal
    parts are averaged again, over the parts and then over the processes.
    """

    rank: int = 0
    num_ranks: int = 1
    num_parts: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether one process works on the joint batch in one part."""
        return self.num_ranks == 1 and self.num_parts == 1

    def parts(self, batch: int) -> list[slice]:
        """Rows of a joint batch that each part of this process takes, none of them empty."""
        stride = self.num_ranks * self.num_parts
        starts = range(self.rank, min(stride, batch), self.num_ranks)
        return [slice(start, None, stride) for start in starts]

    def round_up(self, size: int) -> int:
        """The next size that all processes have an equal share of."""
        return -(-size // self.num_ranks) * self.num_ranks

    def own_part(self, part: slice) -> slice:
        """The same part, in the rows of this process alone."""
        return slice((part.start - self.rank) // self.num_ranks, None, self.num_parts)

    def average(self, value: Tensor) -> Tensor:
        """Mean over all processes of a value of equal shape in each."""
        if self.num_ranks == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.num_ranks

    def average_all(self, values: list[Tensor]) -> list[Tensor]:
        """Means over all processes, in one exchange."""
        if self.num_ranks == 1 or not values:
            return values
        flat = self.average(torch.cat([value.detach().flatten() for value in values]))
        pieces = flat.split([value.numel() for value in values])
        return [piece.view_as(value) for piece, value in zip(pieces, values, strict=True)]

    def gather(self, values: Tensor) -> Tensor:
        """Values of all processes, one process after the other: [n] -> [num_ranks * n]."""
        if self.num_ranks == 1:
            return values
        received = [torch.empty_like(values) for _ in range(self.num_ranks)]
        distributed.all_gather(received, values.contiguous())
        return torch.cat(received)

    def agree(self, is_wanted: bool, device: torch.device) -> bool:
        """Whether any process wants it; the answer is the same in all."""
        if self.num_ranks == 1:
            return is_wanted
        return bool(self.average(torch.tensor(float(is_wanted), device=device)) > 0)

    def from_first(self, values: Tensor) -> Tensor:
        """The first process's values in all of them; the others give a tensor of that shape."""
        if self.num_ranks > 1:
            distributed.broadcast(values, src=0)
        return values

    def wait(self) -> None:
        """Until all processes are here."""
        if self.num_ranks > 1:
            distributed.barrier()

    def copy_from_first(self, networks: list[nn.Module]) -> None:
        """Give every process the weights and buffers of the first."""
        if self.num_ranks == 1:
            return
        for network in networks:
            for tensor in network.state_dict().values():
                distributed.broadcast(cast(Tensor, tensor), src=0)

    def require_same(self, nimg: int, device: torch.device) -> None:
        """Check that all processes are at the same image.

        Raises: CheckpointError if some found other snapshots than the first.
        """
        places = self.gather(torch.tensor([nimg], device=device)).tolist()
        if len(set(places)) > 1:
            kimg = ", ".join(f"{place / 1000:g}" for place in places)
            message = f"processes found different snapshots and would go on from {kimg} kimg"
            raise CheckpointError(f"{message}: put snapshots where all machines see them")

    def require_fit(self, batch_size: int, group: int, full_group: int | None) -> None:
        """Check that every part gets equally many images and whole minibatch-stddev groups.

        A batch below `full_group` is a group of its own; None = any batch is.

        Raises: ParamsError that names a batch size that fits, if there is one.
        """
        num_shares = self.num_ranks * self.num_parts
        if batch_size % (num_shares * group) == 0:
            return
        shares = "1 process" if num_shares == 1 else f"{num_shares} parts"
        message = (
            f"batch_size {batch_size} cannot be dealt to {shares} in whole minibatch-stddev groups "
            f"of {group}"
        )
        if full_group is None:
            message += ": this discriminator compares all images of a batch with one another"
            raise ParamsError(f"{message}, so train it in one process, without part_size")
        unit = num_shares * full_group
        near = max(unit, batch_size // unit * unit)
        raise ParamsError(f"{message}; set it to a multiple of {unit}, such as {near}")

    def divide(self, batch_size: int, part_size: int, group: int) -> None:
        """Work in as few parts of at most `part_size` images as whole groups can be dealt to.

        Where no number of parts fits, it is the least; `require_fit` then says what would.
        """
        least = max(self.num_parts, -(-batch_size // (self.num_ranks * part_size)))
        self.num_parts = self._next_fitting(least, batch_size, group) or least

    def _next_fitting(self, least: int, batch_size: int, group: int) -> int | None:
        """The next number of parts that whole groups can be dealt to, if there is one."""
        most = batch_size // (self.num_ranks * group)
        fits = (n for n in range(least, most + 1) if batch_size % (self.num_ranks * n * group) == 0)
        return next(fits, None)

    def halve(self, batch_size: int, group: int) -> bool:
        """Work in at least twice as many parts of whole groups; says whether there are such."""
        more = self._next_fitting(2 * self.num_parts, batch_size, group)
        self.num_parts = more or self.num_parts
        return more is not None

    def part_size(self, batch_size: int) -> int:
        """Images of a part."""
        return batch_size // (self.num_ranks * self.num_parts)
