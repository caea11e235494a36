"""The options that scripts of users rely on: one is added, renamed or dropped knowingly."""

import click
import typer

from flows.cli import app

MODELS = {"--parent", "--child", "--out"}
CODES = {"--space", "--steps", "--seed", "--force"}
OPTIONS: dict[str, set[str]] = {
    "init": {"--images", "--labels", "--child", "--test", "--oracle", "--parent", "--resolution"}
    | {"--licence", "--params"},
    "run": {"--set"},
    "demo": set(),
    "doctor": set(),
    "ui": {"--prefect-port", "--mlflow-port"},
    "serve": {"--port"},
    "translate": MODELS | CODES | {"--psi"},
    "predict": {"--model", "--out"},
    "morph": MODELS | CODES | {"--frames", "--codes"},
    "inspect": {"--json"},
    "convert": {"--parent", "--domain"},
}


def commands() -> dict[str, click.Command]:
    """The commands there are, by name."""
    group = typer.main.get_command(app)
    return group.commands  # pyright: ignore[reportAttributeAccessIssue]  typer types a Group so


def test_every_command_has_the_options_that_it_is_known_for():
    found = {
        name: {option for param in command.params for option in param.opts if option[0] == "-"}
        for name, command in commands().items()
    }

    assert found == OPTIONS


def test_every_command_and_every_option_says_what_it_does():
    for name, command in commands().items():
        assert command.help, name
        options = [param for param in command.params if param.opts[0].startswith("-")]
        silent = [param.name for param in options if not getattr(param, "help", None)]
        assert not silent, f"{name}: {silent}"
