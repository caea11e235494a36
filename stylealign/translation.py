"""Image translation: codes found in one model, drawn by a relative of it."""

import torch

from stylealign.checkpoints import require_related
from stylealign.inversion.inputs import check_codes, check_labels
from stylealign.inversion.noise import NoiseMaps
from stylealign.models import Latents, Model
from stylealign.models.latents import Images, Labels
from stylealign.portions import Portions


@torch.no_grad()
def translate(
    latents: Latents,
    model: Model,
    c: Labels | None = None,
    *,
    truncation_psi: float = 1.0,
    force: bool = False,
    noise_maps: NoiseMaps | None = None,
    batch_size: int = 64,
) -> Images:
    """Draw codes found in a parent with one of its children, or with any other relative.

    Aligned models read a code the same way, so the code is kept and only the weights that draw
    it change. A z or z_plus code passes through the child's own mapping network; a w or w_plus
    code goes straight to its synthesis network. The model that the codes belong to redraws the
    inverted image. As many images at once as the device does not hold are halved.

    Shapes: latents.codes [N, dim] or [N, num_ws, dim], c [N, c_dim]; returns [N, 3, H, W].
    Units:  pixels float32 in [-1, 1]; truncation_psi in [0, 1], where 0 gives the mean image.
    Raises: LineageError if the model is not related to the one the codes belong to, unless
        `force` asks for a control experiment; DataError if the codes do not fit its size;
        ParamsError if memory runs out with a single image.
    Source: Wu et al., StyleAlign, ICLR 2022, arXiv:2110.11323 (image translation).
    """
    require_related(latents, model, force=force)
    codes = check_codes(latents, model)
    c = check_labels(c, model, len(latents))
    generator = model.generator

    def draw(rows: slice) -> Images:
        w_plus = generator.to_w_plus(
            codes[rows],
            latents.space,
            None if c is None else c[rows],
            truncation_psi=truncation_psi,
        )
        return generator.synthesis(w_plus, noise_maps=_select(noise_maps, rows))

    return torch.cat(Portions(batch_size).map(len(codes), draw))


def _select(noise_maps: NoiseMaps | None, rows: slice) -> NoiseMaps | None:
    """Maps of some images; a map shared by all images stays as it is."""
    if noise_maps is None:
        return None
    return {name: noise if len(noise) == 1 else noise[rows] for name, noise in noise_maps.items()}
