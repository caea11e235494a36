"""The networks that a project looks at images with, as its params name them."""

from stylealign.metrics.features import Extractor, Vgg16Extractor, load_extractor
from stylealign.metrics.path_length import Look
from stylealign.metrics.perceptual import Lite2Blocks
from stylealign.metrics.published import WeightsFile
from stylealign.metrics.vgg16 import Vgg16Blocks
from stylealign.params import EvaluateParams


def open_extractor(params: EvaluateParams) -> Extractor:
    """The extractor that distances between image sets are measured with.

    Raises: ParamsError or CheckpointError if it cannot be loaded.
    """
    given = params.feature_weights
    weights = None if given is None else WeightsFile(path=given.path, sha256=given.sha256)
    name, resolution = params.feature_extractor, params.feature_resolution
    return load_extractor(name, resolution=resolution, weights=weights)


def choose_look(extractor: Extractor) -> Look:
    """What path length is seen with: maps of the extractor's own network, or those of `lite2`.

    `inception` has no maps that are used for perceptual distances.
    """
    if isinstance(extractor, Vgg16Extractor):
        return Vgg16Blocks(weights=extractor.weights)
    return Lite2Blocks()
