"""A setting: a dataclass field that says what it is for and which values it takes.

Controls, command lines and checks are all made from what the field carries.
"""

from __future__ import annotations

from dataclasses import Field, field, fields
from numbers import Real
from typing import Any


def setting(default: Any, *, help: str, **limits: Any) -> Any:
    """A dataclass field with its ``help`` and the ``limits`` of its values.

    Numbers have ``min`` and ``max``, texts may have ``choices``. ``kind`` is the type of a setting
    whose default is None, which stands for a choice made later. Controls read ``label``, ``unit``,
    ``step`` and the like.
    """
    return field(default=default, metadata={"help": help, **limits})


def checked(known: Field[Any], value: Any) -> Any:
    """``value`` in the kind of the setting ``known``: 3.0 is the whole number 3.

    Raises:
        ValueError: of another kind, or out of range; the message says what can be.
    """
    limits = known.metadata
    kind = limits.get("kind", type(known.default))
    if value is None and known.default is None:
        return None
    if kind in (bool, str):
        choices = limits.get("choices", ())
        if not isinstance(value, kind) or (choices and value not in choices):
            wanted = f"out of {', '.join(choices)}" if choices else f"as a {kind.__name__}"
            raise ValueError(f"Expected {known.name} {wanted}, got {value!r}.")
        return value
    low, high = limits["min"], limits["max"]
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (kind is int and value != int(value)):
        name = "whole number" if kind is int else "number"
        raise ValueError(f"Expected {known.name} as a {name} from {low} to {high}, got {value!r}.")
    return kind(value)


def check_all(settings: Any) -> None:
    """See to every field of a (frozen) dataclass of settings that was just made, by `checked`."""
    for known in fields(settings):
        object.__setattr__(settings, known.name, checked(known, getattr(settings, known.name)))
