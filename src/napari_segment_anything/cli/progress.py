"""One line of progress on the terminal."""

from __future__ import annotations

import sys

import typer


class Line:
    """A line on stderr, written over and over; none where nobody looks."""

    def __init__(self, what: str) -> None:
        self._what = what

    def show(self, done: int, total: int) -> None:
        """``what`` with percents in place of what stood there."""
        if sys.stderr.isatty():
            typer.echo(
                f"\r\033[K{self._what}: {100 * done // max(1, total)} % ", err=True, nl=False
            )

    @staticmethod
    def clear() -> None:
        """An empty line."""
        if sys.stderr.isatty():
            typer.echo("\r\033[K", err=True, nl=False)
