"""What a terminal is shown."""

from ragnarok.cli.render import highlighted
from ragnarok.types import Highlight


def test_highlights_show_without_colour_and_cannot_command_the_terminal() -> None:
    text = "\x1b[31mred apples\nand bread"
    start = text.index("apples")
    shown = highlighted(text, (Highlight(start, start + 6, 1.0),), plain=True).plain
    assert shown == "[31mred «apples» and bread"
