"""The options that scripts of users rely on: one is added, renamed or dropped knowingly."""

from inspect import signature

import click
import typer
from rich.console import Console

from flows.cli import app
from flows.model_commands import DEFAULTS
from flows.run import REPORT, headline_table, show_headline
from stylealign.inversion import invert

MODELS = {"--parent", "--child", "--out"}
CODES = {"--space", "--steps", "--seed", "--force", "--device"}
OPTIONS: dict[str, set[str]] = {
    "init": {"--images", "--labels", "--child", "--test", "--oracle", "--parent", "--resolution"}
    | {"--licence", "--params"},
    "run": {"--set"},
    "recipe": {"--resolution", "--total-kimg", "--devices", "--classes", "--parent"},
    "demo": set(),
    "doctor": set(),
    "ui": {"--prefect-port", "--mlflow-port"},
    "serve": {"--port"},
    "translate": MODELS | CODES | {"--psi"},
    "predict": {"--model", "--out", "--device"},
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


def test_the_help_tells_the_defaults_of_an_inversion_as_they_are():
    taken = signature(invert).parameters

    assert {name: taken[name].default for name in DEFAULTS} == DEFAULTS


def test_the_headline_says_what_is_transferable_and_what_is_a_control():
    arms = {"source_only": 0.5, "transfer": 0.8, "oracle": 0.9, "gap_closed": 0.75}
    labels = {
        "yaw": arms | {"low": 0.7, "high": 0.8, "transferable": True},
        "hair_color": {"transferable": False, "control": True},
        "hat": {"transferable": False, "control": False},
    }

    console = Console(width=80)  # as a terminal has by default
    with console.capture() as said:
        console.print(headline_table("cats", labels))

    yaw, hair, hat = (line for line in said.get().splitlines() if "ya" in line or "ha" in line)
    assert "0.75 [0.70, 0.80]" in yaw
    assert yaw.rstrip().endswith("yes")
    assert hair.split() == ["hair_color", *["-"] * 4, "no", "(control)"]
    assert "no (control)" in hair
    assert hat.rstrip().endswith(" no")
    assert "…" not in said.get()


def test_the_path_of_the_report_is_printed_as_it_is(tmp_path, capsys):
    page = tmp_path / "faces [v1]" / REPORT
    page.parent.mkdir(parents=True)
    page.touch()

    show_headline(tmp_path / "faces [v1]")

    assert capsys.readouterr().out == f"report: {page}\n"
