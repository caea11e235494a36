"""A recipe for any resolution as a block of params.yaml, ready to be pasted."""

from collections.abc import Mapping

from ruamel.yaml.comments import CommentedMap

from flows.starting_params import write_tree
from stylealign.errors import ParamsError
from stylealign.params.models import ArchitectureParams
from stylealign.recipe import Recipe

LOWEST, HIGHEST = 8, 1024
"""Sides that data sets are prepared at, in pixels."""
SMALLEST_SHARE = 4
"""Images of one minibatch-stddev group, which no device can have fewer of."""
COMMENT_COLUMN = 30

ALIGNMENT = "no term keeps the child aligned yet: add feature_weight or another, docs/training.md"
WHAT = {
    "snapshot_kimg": "a stopped run continues from the last snapshot",
    "batch_size": "of all devices together; if memory is short, add part_size",
    "pl_weight": "path-length penalty; 0 = off",
    "augment": "adaptive augmentation; hardly any with many images",
}
"""What is said of a field beside its value."""


def recipe_block(
    child: str,
    *,
    resolution: int,
    total_kimg: float,
    num_devices: int = 1,
    classes: str = "",
) -> str:
    """The recipe of one child, `train_child.<child>.recipe`, as YAML.

    Raises: ParamsError if no model can be trained so.
    """
    recipe = choose_recipe(resolution, total_kimg, num_devices, classes)
    block = commented(recipe, resolution, is_fine_tuning=True)
    tree = CommentedMap({"train_child": {child: {"recipe": block}}})
    start = start_line(resolution, num_devices, f"train_child {child}")
    tree.yaml_set_start_comment(f"{start}\n{ALIGNMENT}\n")
    return write_tree(tree)


def parent_block(
    *, resolution: int, total_kimg: float, num_devices: int = 1, classes: str = ""
) -> str:
    """Networks and recipe of a parent from scratch, two fields of `train_parent`, as YAML.

    Raises: ParamsError if no model can be trained so.
    """
    from stylealign.training.auto import auto_config

    recipe = choose_recipe(resolution, total_kimg, num_devices, classes)
    config = auto_config(resolution, num_devices=num_devices)
    fields = config.model_dump(include=set(ArchitectureParams.model_fields))
    del fields["discriminator_channels"]  # as the generator's
    fields["channels"] = flow_map(fields["channels"])
    section = {
        "architecture": fields,
        "recipe": commented(recipe, resolution, is_fine_tuning=False),
    }
    tree = CommentedMap({"train_parent": section})
    tree.yaml_set_start_comment(f"{start_line(resolution, num_devices, 'train_parent')}\n")
    return write_tree(tree)


def choose_recipe(resolution: int, total_kimg: float, num_devices: int, classes: str) -> Recipe:
    """The automatic recipe, for what can be trained.

    Raises: ParamsError that says what cannot.
    """
    if resolution & (resolution - 1) or not LOWEST <= resolution <= HIGHEST:
        raise ParamsError(
            f"resolution must be a power of two from {LOWEST} to {HIGHEST}, got {resolution}"
        )
    if not 0 < total_kimg < float("inf"):
        raise ParamsError(f"total kimg must be a number above 0, got {total_kimg}")
    from stylealign.training.auto import auto_recipe

    recipe = auto_recipe(resolution, total_kimg=total_kimg, num_devices=num_devices)
    if recipe.batch_size % (num_devices * SMALLEST_SHARE):
        raise ParamsError(
            f"a batch of {recipe.batch_size} cannot be dealt to {num_devices} devices in groups of "
            f"{SMALLEST_SHARE} images: choose 1, 2, 4, 8 or 16 devices"
        )
    return recipe.model_copy(update={"classes": classes}) if classes else recipe


def start_line(resolution: int, num_devices: int, stage: str) -> str:
    """What the numbers are for."""
    if num_devices == 1:
        return f"{resolution} pixels, one device"
    torchrun = f"torchrun --nproc-per-node {num_devices} -m flows.cli run {stage}"
    return f"{resolution} pixels, {num_devices} devices: {torchrun}"


def commented(recipe: Recipe, resolution: int, *, is_fine_tuning: bool) -> CommentedMap:
    """What was chosen, in the order of the fields; beside each `auto` what it comes to."""
    chosen = recipe.model_fields_set | {"snapshot_kimg"}
    dumped = recipe.model_dump(include=chosen)
    fields = {name: shortest(dumped[name]) for name in Recipe.model_fields if name in chosen}
    numbers = recipe.numbers(resolution, is_fine_tuning=is_fine_tuning)
    comes_to = {
        name: f"{getattr(numbers, name):g}" for name, value in fields.items() if value == "auto"
    }
    comes_to["r1_gamma"] += "; try other values of this number first"
    if is_fine_tuning:
        comes_to["snapshot_kimg"] = "each snapshot is measured, and one becomes the child"
    said, block = WHAT | comes_to, CommentedMap(fields)
    for name in fields.keys() & said.keys():
        block.yaml_add_eol_comment(said[name], name, column=COMMENT_COLUMN)
    return block


def flow_map(fields: Mapping[int, int]) -> CommentedMap:
    """A mapping that is written in one line."""
    line = CommentedMap(fields)
    line.fa.set_flow_style()
    return line


def shortest(value: object) -> object:
    """A whole number without its `.0`."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
