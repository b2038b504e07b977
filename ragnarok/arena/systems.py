"""From the arena's configuration file to contenders that can be asked."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ragnarok.arena.configuration import AnswersEntry, Configuration, Entry, RemoteEntry, read_configuration
from ragnarok.arena.contenders import Contender, Roster
from ragnarok.arena.external import AnswersContender
from ragnarok.arena.lent import NOTHING, Lent
from ragnarok.arena.remote import RemoteContender
from ragnarok.errors import BadSetting
from ragnarok.pipeline import Closes

if TYPE_CHECKING:
    from ragnarok.arena.assembled import Parts


def open_roster(path: Path, say: Callable[[str], None] = lambda _: None, *, lent: Lent = NOTHING) -> Roster:
    """Open every system that the file names; equal parts are shared. `say` hears what is being opened.

    What is `lent` is not opened again, has to stay open as long as the roster, and is not closed with it.
    Raises what `read_configuration`, opening indexes, loading models and reading answer files raise.
    """
    configuration = read_configuration(path)
    opened: list[Parts] = []

    def parts() -> "Parts":
        # Not at the top: it loads torch, which votes, and systems elsewhere, have no use for.
        from ragnarok.arena.assembled import Parts

        if not opened:
            opened.append(Parts(configuration.folder, say, lent))
            failed.callback(opened[0].close)
        return opened[0]

    with ExitStack() as failed:
        contenders: dict[str, Contender] = {}
        for name, entry in configuration.systems.items():
            contenders[name] = made = _contender(name, entry, configuration, parts)
            if isinstance(made, Closes):
                failed.callback(made.close)
        failed.pop_all()
    signs = configuration.signs + tuple(
        run for one in contenders.values() if isinstance(one, AnswersContender) for run in one.runs
    )
    return Roster(contenders, configuration.topics, tuple(opened), configuration.masked, signs)


def _contender(
    name: str, entry: Entry, configuration: Configuration, parts: "Callable[[], Parts]"
) -> Contender:
    if isinstance(entry, RemoteEntry):
        return RemoteContender(name, entry.url, _key(name, entry.key_variable), entry.timeout)
    if isinstance(entry, AnswersEntry):
        index = None if entry.index is None else parts().index(entry.index)
        questions = configuration.topics[entry.topics]
        return AnswersContender(name, configuration.folder / entry.answers, entry.topics, questions, index)
    return parts().contender(name, entry)


def _key(name: str, variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii():
        raise BadSetting(f"the system {name!r} takes its API key from {variable}, which holds none; set it")
    return key
