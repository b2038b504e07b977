"""Options in groups: a command takes a frozen dataclass of them, and its user sees each by itself.

Knows signatures only; the groups that several commands share are in `ragnarok.cli.groups`.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Let `command` take dataclasses of options: each field is an option, in the group's place.

    A field's annotation is an option's, its default is the option's; a field may be a group itself. Names
    are the fields', so that no two groups of one command may share one.
    """
    taken = inspect.signature(command, eval_str=True).parameters

    @functools.wraps(command)
    def call(**given: object) -> None:
        command(**{name: _made(one.annotation, name, given) for name, one in taken.items()})

    options = [one for own in taken.values() for one in _options(own)]
    # What typer reads a command's options from.
    call.__dict__["__signature__"] = inspect.Signature(options)
    return call


def _options(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """The options that a parameter stands for: itself, or its group's."""
    if not is_dataclass(parameter.annotation):
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    hints = get_type_hints(parameter.annotation, include_extras=True)
    for field in fields(parameter.annotation):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield from _options(parameter.replace(name=field.name, annotation=hints[field.name], default=default))


def _made(annotation: object, name: str, given: dict[str, object]) -> object:
    """What the command is given for a parameter: the option's value, or the group of its options'."""
    if not isinstance(annotation, type) or not is_dataclass(annotation):
        return given[name]
    hints = get_type_hints(annotation, include_extras=True)
    kind: Callable[..., object] = annotation
    return kind(**{field.name: _made(hints[field.name], field.name, given) for field in fields(annotation)})
