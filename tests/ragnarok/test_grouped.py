"""Options in groups: each is shown by itself, and the command is given them together."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ragnarok.cli.grouped import grouped

Size = Annotated[int, typer.Option("--size", min=1, help="How large.")]


@dataclass(frozen=True, slots=True)
class Inner:
    """A group within a group."""

    size: Size = 3
    colour: Annotated[str | None, typer.Option(help="Which colour.")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """A group with an option that must be given."""

    place: Annotated[str, typer.Option(help="Where.")]
    inner: Inner
    last: Annotated[bool, typer.Option("--last", help="Whether it ends here.")] = False


GIVEN: list[tuple[str, Outer, int]] = []

app = typer.Typer(add_completion=False)


@app.command()
@grouped
def paint(
    name: Annotated[str, typer.Argument(help="What.")],
    *,
    outer: Outer,
    times: Annotated[int, typer.Option(help="How often.")] = 1,
) -> None:
    """Paint it."""
    GIVEN.append((name, outer, times))


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["door", "--place", "hall"], ("door", Outer(place="hall", inner=Inner()), 1)),
        (
            ["--place", "hall", "--size", "9", "--times", "2", "--last", "door", "--colour", "red"],
            ("door", Outer(place="hall", inner=Inner(9, "red"), last=True), 2),
        ),
    ],
)
def test_a_command_is_given_its_groups(words: list[str], given: tuple[str, Outer, int]) -> None:
    GIVEN.clear()
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [given] == GIVEN


@pytest.mark.parametrize("words", [["door"], ["door", "--place", "hall", "--size", "0"]])
def test_an_option_of_a_group_is_checked_as_any(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2


def test_options_stand_where_their_group_does() -> None:
    command = typer.main.get_command(app)
    assert [one.name for one in command.params] == ["name", "place", "size", "colour", "last", "times"]
    assert command.help == "Paint it."
