"""Children with some of their component groups set back to the parent's values."""

import copy
from collections.abc import Collection

from stylealign.alignment.groups import group_of, list_groups, require_same_architecture
from stylealign.checkpoints import compute_model_id
from stylealign.errors import DataError
from stylealign.models import Model


def reset_groups(child: Model, parent: Model, groups: Collection[str]) -> Model:
    """A copy of the child whose named groups hold the parent's weights and buffers.

    What changes in its images, and how much worse it fits the child's domain, shows what a group
    has learned. With all groups it is the parent; the child itself is left alone.

    Raises: DataError if a group does not exist or the two architectures differ.
    """
    require_same_architecture(parent, child)
    known = list_groups(child.generator)
    unknown = sorted(set(groups) - set(known))
    if unknown:
        raise DataError(f"component groups {unknown!r} do not exist, expected some of {known!r}")
    generator = copy.deepcopy(child.generator)
    inherited = parent.generator.state_dict()
    state = {
        name: inherited[name].to(weight) if group_of(name) in groups else weight
        for name, weight in generator.state_dict().items()
    }
    generator.load_state_dict(state)
    config = child.config.model_copy(update={"id": compute_model_id(generator)})
    return Model(generator, config)
