"""Settings as command-line options, with their own ranges and help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from functools import wraps
from typing import Any, Optional, TypeVar

import typer

from ..config import AutoMaskSettings, ModelChoice

T = TypeVar("T")
HELP = {setting.name: setting.metadata["help"] for setting in fields(ModelChoice)}


def with_settings(
    command: Callable[..., Any], kind: type[Any] = AutoMaskSettings, unset: str = "the model's own"
) -> Callable[..., Any]:
    """Replace a command's ``**settings`` by one option a field of ``kind``, a settings class.

    The command gets those that were given; for the others it takes the class's, or what the help
    says by ``unset``.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    settings = fields(kind)
    parameters = [*own, *(_option(setting, unset) for setting in settings)]

    @wraps(command)
    def run(**values: Any) -> Any:
        absent = {setting.name for setting in settings if values[setting.name] is None}
        given = {k: v for k, v in values.items() if k not in absent}
        return command(**{k: str(v) if isinstance(v, StrEnum) else v for k, v in given.items()})

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def picked(kind: type[T], given: Mapping[str, Any]) -> T:
    """The settings ``kind`` with those of its fields that are ``given``, among others."""
    names = {setting.name for setting in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in given.items() if name in names})


def _option(setting: Any, unset: str) -> inspect.Parameter:
    limits = setting.metadata
    said = limits["help"]
    if setting.default is not None:
        said = f"{said} By default {unset or setting.default}."
    option = typer.Option(None, help=said, min=limits.get("min"), max=limits.get("max"))
    kind = _words(setting) if "choices" in limits else limits.get("kind", type(setting.default))
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=option,
        annotation=Optional[kind],  # noqa: UP045 - typer's oldest reads no other
    )


def _words(setting: Any) -> Any:
    """The setting's choices, as the type that typer offers words of."""
    return StrEnum(setting.name, list(setting.metadata["choices"]))  # type: ignore[misc]
