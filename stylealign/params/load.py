"""params.yaml -> Params, with every mistake named by its key."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from stylealign.errors import ParamsError
from stylealign.params.project import Params

Location = Sequence[int | str]


def load_params(path: str | Path = Path("params.yaml"), overrides: Iterable[str] = ()) -> Params:
    """The parameters of a project, checked once and frozen.

    An override is `section.key=value`; the value is read as YAML, so `1e-3`, `true`, `[a, b]`
    and `null` mean what they mean in the file.

    Raises: ParamsError for a missing file, broken YAML, an unknown key (with the nearest known
        one), or a value out of range.
    """
    path = Path(path)
    return check_params(_with_overrides(_read(path), overrides), path.name)


def check_params(tree: dict[str, Any], name: str = "params.yaml") -> Params:
    """The same for parameters already read.

    Raises: ParamsError as `load_params`.
    """
    try:
        params = Params.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # a mistyped key is also a missing one: its own name tells more
        first = min(found, key=lambda one: one["type"] != "extra_forbidden")
        choices = [one for one in found if _place(one) == _place(first) and one is not first]
        raise ParamsError(f"{name}: {_explain(first, choices)}") from None
    for key, value in _truths_taken_for_numbers(tree, params):
        raise ParamsError(f"{name}: {key}: input should be a number, got {value!r}")
    return params


def _truths_taken_for_numbers(
    given: object, taken: object, key: str = ""
) -> Iterator[tuple[str, bool]]:
    """Each place where true or false was given and taken for 1 or 0, as Python does."""
    if isinstance(given, bool) and not isinstance(taken, bool):
        yield key, given
    elif isinstance(given, dict) and isinstance(taken, (dict, BaseModel)):
        fields: dict[Any, Any] = dict(taken)
        for name, value in cast(dict[Any, Any], given).items():
            place = f"{key}.{name}".lstrip(".")
            yield from _truths_taken_for_numbers(value, fields.get(name), place)
    elif isinstance(given, list) and isinstance(taken, (list, tuple)):
        for number, (value, item) in enumerate(zip(given, taken, strict=True)):
            yield from _truths_taken_for_numbers(value, item, f"{key}.{number}")


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"no {path.name} in {str(path.absolute().parent)!r}: "
            "go to a project's folder, or make one with `stylealign init DIR`"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ParamsError(f"{path.name} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ParamsError(f"{path.name} must hold sections, got {type(tree).__name__!r}")
    return cast(dict[str, Any], tree)


def _with_overrides(tree: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for override in overrides:
        key, separator, text = override.partition("=")
        *parents, last = key.strip().split(".")
        if not separator or not parents or not last:
            raise ParamsError(f"an override reads section.key=value, got {override!r}")
        node: Any = tree
        for parent in parents:
            inner = node.get(parent) if isinstance(node, dict) else None
            if isinstance(inner, dict):  # others may share it by an anchor
                inner = node[parent] = dict(inner)
            node = inner
        if not isinstance(node, dict):
            raise ParamsError(f"override {override!r}: no section {'.'.join(parents)!r}")
        try:
            node[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ParamsError(f"override {override!r}: its value is no YAML; quote it") from error
    return tree


def _place(error: ErrorDetails) -> Location:
    """Keys down to the value that is wrong, without the kind of value that it was taken for."""
    loc = error["loc"]
    is_kind = bool(loc) and str(loc[-1]).startswith(("constrained-", "literal["))
    return loc[:-1] if is_kind else loc


def _explain(error: ErrorDetails, choices: Sequence[ErrorDetails]) -> str:
    """What is wrong; `choices` are what is wrong with the other kinds the value may be of."""
    loc = _place(error)
    key = ".".join(str(part) for part in loc if part != "[key]")
    if error["type"] == "extra_forbidden":
        known = _known_keys(loc[:-1])
        near = get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
        return f"unknown key {key!r}: {hint}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    message = message[0].lower() + message[1:].replace("valid tuple", "list")
    message += "".join(f", or {one['msg'].removeprefix('Input should be ')}" for one in choices)
    if error["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: {message}, got {error['input']!r}"


def _known_keys(loc: Location) -> list[str]:
    """Fields of the section at this place; names of a mapping's entries are stepped over."""
    section: type[BaseModel] = Params
    for part in loc:
        field = section.model_fields.get(str(part))
        if field is not None:
            section = _section_in(field.annotation) or section
    return list(section.model_fields)


def _section_in(annotation: object) -> type[BaseModel] | None:
    """The section inside `X`, `X | None` or `dict[str, X]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_section_in(part) for part in get_args(annotation))
    return next((section for section in found if section is not None), None)
