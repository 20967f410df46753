"""Settings as command-line options, with their own ranges and help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
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
        return command(**{name: value for name, value in values.items() if name not in unset})

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _option(setting: Any) -> inspect.Parameter:
    limits = setting.metadata
    kind = type(setting.default)
    option = typer.Option(
        None,
        help=f"{limits['help']} By default the model's own.",
        min=limits["min"],
        max=limits["max"],
    )
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=option,
        annotation=Optional[kind],  # noqa: UP045 - typer's oldest reads no other
    )
