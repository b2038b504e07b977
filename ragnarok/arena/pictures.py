"""A leaderboard drawn: ratings with their intervals, and who beats whom, as SVG.

The background is transparent and lines and words have the colour of the text around (`currentColor`), or,
in a file of its own, black or white as the reader's system is light or dark. Style is written as attributes,
which a page that forbids inline styles still shows. Words are drawn as shapes, so a title and a description
say what is seen; where a name has characters that the font here lacks, words are text, which the reader's
fonts draw.
"""

import io
import re
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from html import escape

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from ragnarok.arena.boards import Leaderboard
from ragnarok.errors import Unratable

INK = "#010203"
"""Drawn with, and then replaced by `currentColor`."""

WEAK, MIDDLE, STRONG = "#b04d12", "#707070", "#1f6fb2"
"""Hues for less than half of the wins, half, and more: white words have a contrast of 4.5 to 1 on each."""

THEME = "svg{color:#1b1b1b}@media (prefers-color-scheme:dark){svg{color:#ececec}}"

LONGEST, CELLS = 28, 30
"""Characters of a name that are drawn; systems up to which a matrix has words in its cells."""

PIXELS = 96
"""Of a page, in an inch."""

Size = tuple[float, float]

# matplotlib keeps fonts and settings for the whole process, and promises nothing to threads.
_DRAWING = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Plan:
    """A picture to draw: its size in inches, what it shows in words, and what its names begin with.

    `frame` draws what decides the layout, `fill` what lies within it.
    """

    size: Size
    title: str
    told: str
    prefix: str
    frame: Callable[[Axes], None]
    fill: Callable[[Axes], None] = lambda _: None


def rating_plot(board: Leaderboard, *, inline: bool = False) -> str:
    """Ratings and their 95 % intervals, best on top. `inline`: to stand in a page's own markup.

    Raises `Unratable` for a board without ratings.
    """
    if not board.rated:
        raise Unratable(f"there are no ratings to draw: {board.why}")
    rows = [(one.system, one.rating or 0.0, one.low or 0.0, one.high or 0.0) for one in board.standings]
    told = "; ".join(f"{name} {at:.0f} ({low:.0f} to {high:.0f})" for name, at, low, high in rows)

    def frame(axes: Axes) -> None:
        at, low, high = (np.array([row[column] for row in rows]) for column in (1, 2, 3))
        reach = np.maximum([at - low, high - at], 0)
        axes.errorbar(at, np.arange(len(rows)), xerr=reach, fmt="o", color=STRONG, capsize=3, lw=1.6)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        _names(axes, "y", [row[0] for row in rows])
        axes.grid(axis="x", color=INK, alpha=0.15)
        axes.set_xlabel("rating, with 95 % interval", color=INK)

    votes = board.filters.board
    title = f"Ratings of {len(rows)} systems by votes on the {votes}"
    plan = _Plan(_rating_inches(board), title, f"Best first: {told}.", f"ratings-{votes}", frame)
    return _svg(plan, inline)


def rating_size(board: Leaderboard) -> tuple[int, int]:
    """The width and height of `rating_plot` in a page's pixels: the room that it takes."""
    return _pixels(_rating_inches(board))


def win_matrix(board: Leaderboard, *, inline: bool = False) -> str:
    """How often the row's system beat the column's, in percent with ties as half, and of how many votes.

    Beyond `CELLS` systems there are colours alone. `inline`: to stand in a page's own markup. Raises
    `Unratable` for a board without votes.
    """
    names = [one.system for one in board.standings]
    if not names:
        raise Unratable(f"there are no votes to draw: {board.why}")
    rates, games, n = board.win_rates, board.games, len(names)

    def frame(axes: Axes) -> None:
        colours = LinearSegmentedColormap.from_list("wins", [WEAK, MIDDLE, STRONG])
        axes.pcolormesh(np.ma.masked_invalid(rates), cmap=colours, vmin=0, vmax=1, edgecolors="none")
        axes.set_ylim(n, 0)
        _names(axes, "y", names, shift=0.5)
        _names(axes, "x", names, shift=0.5)
        axes.set_xlabel("wins of row against column\nand their votes", color=INK)

    def fill(axes: Axes) -> None:
        for row, column in zip(*np.nonzero(games), strict=True):
            words = f"{100 * rates[row, column]:.0f}%\n{games[row, column]}"
            axes.text(column + 0.5, row + 0.5, words, ha="center", va="center", color="white", fontsize=7)

    votes = board.filters.board
    title = f"Wins among {n} systems by votes on the {votes}"
    pairs = (
        f"{names[row]} beats {names[column]} in {rates[row, column]:.0%} of {games[row, column]}"
        for row, column in zip(*np.nonzero(np.triu(games)), strict=True)
    )
    plan = _Plan(_win_inches(board), title, "; ".join(pairs) + ".", f"wins-{votes}", frame)
    return _svg(replace(plan, fill=fill) if n <= CELLS else plan, inline)


def win_size(board: Leaderboard) -> tuple[int, int]:
    """The width and height of `win_matrix` in a page's pixels."""
    return _pixels(_win_inches(board))


def _rating_inches(board: Leaderboard) -> Size:
    return 7.0, 0.9 + 0.32 * len(board.standings)


def _win_inches(board: Leaderboard) -> Size:
    side = 1.6 + 0.55 * len(board.standings)
    return side + 0.8, side


def _pixels(inches: Size) -> tuple[int, int]:
    width, height = (round(PIXELS * one) for one in inches)
    return width, height


def _names(axes: Axes, which: str, names: list[str], shift: float = 0.0) -> None:
    axis = axes.yaxis if which == "y" else axes.xaxis
    short = [
        textwrap.shorten(name, LONGEST, placeholder="…") if " " in name else _cut(name) for name in names
    ]
    axis.set_ticks([place + shift for place in range(len(names))], short)
    for label in axis.get_ticklabels():
        label.set_parse_math(False)
        if which == "x":
            label.set(rotation=40, ha="right", rotation_mode="anchor")


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _svg(plan: _Plan, inline: bool) -> str:
    with _DRAWING, _words(plan.told):
        figure = Figure(figsize=plan.size, layout="constrained")
        axes = figure.add_subplot()
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        axes.tick_params(colors=INK, length=0)
        axes.spines[:].set_visible(False)
        plan.frame(axes)
        # The layout is found before the many words within it are there, each of which would be measured.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        plan.fill(axes)
        written = io.StringIO()
        # Not savefig, which goes through all words once more.
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None})
    return _plain(_named(written.getvalue(), plan.prefix), plan, inline)


@contextmanager
def _words(told: str) -> Iterator[None]:
    """Words as shapes, or as text where the font lacks a character of what is told."""
    font = get_font(findfont("DejaVu Sans"))
    if all(font.get_char_index(ord(character)) for character in set(told)):
        yield
        return
    with rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
        # The room for such words is measured with the font here, which says what it lacks.
        warnings.filterwarnings("ignore", "Glyph")
        yield


def _plain(drawn: str, plan: _Plan, inline: bool) -> str:
    """The picture with attributes for styles, the text's colour for `INK`, and a title in words."""
    body = drawn[drawn.index("<svg") :]
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'<style type="text/css">[^<]*</style>', "", body)
    body = re.sub(r'\sstyle="([^"]*)"', _attributes, body)
    body = body.replace(INK, "currentColor")
    words = f"<title>{escape(plan.title)}</title>\n<desc>{escape(plan.told)}</desc>\n"
    theme = "" if inline else f"<style>{THEME}</style>\n"
    head, rest = body.split(">", 1)
    start = "" if inline else '<?xml version="1.0" encoding="utf-8"?>\n'
    label = escape(f"{plan.title}. {plan.told}", quote=True)
    head += f' role="img" aria-label="{label}" stroke-linejoin="round">'
    return f"{start}{head}\n{words}{theme}{rest.lstrip()}"


def _named(body: str, prefix: str) -> str:
    """The picture with names only for what it refers to, the same each time and unlike another picture's."""
    names: dict[str, str] = {}
    for reference in re.findall(r'(?:href="|url\()#([^")]+)', body):
        names.setdefault(reference, f"{prefix}-{len(names) + 1}")

    def name(found: re.Match[str]) -> str:
        return f' id="{names[found[1]]}"' if found[1] in names else ""

    body = re.sub(r'\sid="([^"]*)"', name, body)
    return re.sub(r'(href="|url\()#([^")]+)', lambda found: f"{found[1]}#{names[found[2]]}", body)


def _attributes(style: re.Match[str]) -> str:
    pairs = (part.split(":", 1) for part in style[1].split(";") if ":" in part)
    return "".join(f' {name.strip()}="{value.strip()}"' for name, value in pairs)
