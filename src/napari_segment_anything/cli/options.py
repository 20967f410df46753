"""Settings as command-line options, with their own ranges and help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from enum import StrEnum
from functools import wraps
from typing import Any, Optional

import typer

from ..config import AutoMaskSettings, ModelChoice

HELP = {setting.name: setting.metadata["help"] for setting in fields(ModelChoice)}


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Replace a command's ``**settings`` by one option a field of `AutoMaskSettings`.

    The command gets those that were given; the others are the model's own.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    parameters = [*own, *map(_option, fields(AutoMaskSettings))]

    @wraps(command)
    def run(**values: Any) -> Any:
        names = AutoMaskSettings.names()
        unset = {name for name in names if values[name] is None}
        given = {k: v for k, v in values.items() if k not in unset}
        return command(**{k: str(v) if isinstance(v, StrEnum) else v for k, v in given.items()})

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _option(setting: Any) -> inspect.Parameter:
    limits = setting.metadata
    option = typer.Option(
        None,
        help=f"{limits['help']} By default the model's own.",
        min=limits.get("min"),
        max=limits.get("max"),
    )
    kind = _words(setting) if "choices" in limits else type(setting.default)
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=option,
        annotation=Optional[kind],  # noqa: UP045 - typer's oldest reads no other
    )


def _words(setting: Any) -> Any:
    """The setting's choices, as the type that typer offers words of."""
    return StrEnum(setting.name, list(setting.metadata["choices"]))  # type: ignore[misc]
