"""The strength of augmentation, adapted to how sure the discriminator is of real images."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

INTERVAL = 4
"""Steps between two adjustments."""


@dataclass
class AdaptiveStrength:
    """Probability `augment_p` of each transform, which rises while D overfits.

    The sign of D's logits on real images, averaged, is 0 without overfitting and 1 when D knows
    every image; the strength moves at constant speed towards where the mean is `target`. Without
    a target it stays. It is held in [0, 1], so that it comes back at once after an excess; the
    official code lets it run beyond 1, where it means the same.

    Units:  `ada_kimg` is how many thousands of images it takes from 0 to 1.
    Source: arXiv:2006.06676, section 3.1, r_t; every 4 steps as in the official code.
    """

    augment_p: float
    target: float | None
    ada_kimg: float
    sign_sum: Tensor = field(default_factory=lambda: torch.zeros([]))
    num_signs: int = 0
    num_steps: int = 0

    def observe(self, mean_sign: Tensor, batch: int) -> None:
        """Note the mean sign of D's logits on a batch of real images; adjust when it is time."""
        if self.target is None:
            return
        self.sign_sum = self.sign_sum + mean_sign.detach() * batch
        self.num_signs += batch
        self.num_steps += 1
        if self.num_steps % INTERVAL == 0:
            self._adjust(self.target)

    def state_dict(self) -> dict[str, float]:
        """What changes while training, as JSON-ready numbers."""
        return {
            "augment_p": self.augment_p,
            "sign_sum": self.sign_sum.item(),
            "num_signs": self.num_signs,
            "num_steps": self.num_steps,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a state."""
        self.augment_p = float(state["augment_p"])
        self.sign_sum = torch.tensor(float(state["sign_sum"]))
        self.num_signs, self.num_steps = int(state["num_signs"]), int(state["num_steps"])

    def _adjust(self, target: float) -> None:
        excess = self.sign_sum.item() / self.num_signs - target
        step = self.num_signs / (self.ada_kimg * 1000)
        direction = (excess > 0) - (excess < 0)
        self.augment_p = min(max(self.augment_p + direction * step, 0.0), 1.0)
        self.sign_sum, self.num_signs = torch.zeros([]), 0
