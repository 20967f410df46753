"""Keys of a session, on letters that napari and its layers leave free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from napari.components import ViewerModel
from napari.utils.notifications import show_warning

COMMIT, NEXT, CANCEL, UNDO_PROMPT, TOGGLE, REFINE = "G", "N", "Q", "U", "K", "J"


class Commands(Protocol):
    """What a person does with a session; see `Controller`."""

    def commit(self) -> bool:
        """Write the current object."""

    def next_candidate(self) -> None:
        """Show the next best mask."""

    def cancel(self) -> None:
        """Clear the current object."""

    def remove_last_prompt(self) -> bool:
        """Take a prompt back."""

    def toggle_foreground(self) -> None:
        """Switch the sign of the next point."""

    def refine(self, label: int | None = None) -> None:
        """Make a label the mask prompt."""


def bind_keys(viewer: ViewerModel, session: Commands) -> None:
    """Let the keys act on this session; an earlier session's bindings are replaced."""
    actions: dict[str, Callable[[], Any]] = {
        COMMIT: session.commit,
        NEXT: session.next_candidate,
        CANCEL: session.cancel,
        UNDO_PROMPT: session.remove_last_prompt,
        TOGGLE: session.toggle_foreground,
        REFINE: lambda: refine_selected(session),
    }
    for key, action in actions.items():
        viewer.bind_key(key, _ignoring_viewer(action), overwrite=True)


def unbind_keys(viewer: ViewerModel) -> None:
    """Free the keys again."""
    for key in (COMMIT, NEXT, CANCEL, UNDO_PROMPT, TOGGLE, REFINE):
        viewer.bind_key(key, None, overwrite=True)


def refine_selected(session: Commands) -> None:
    """Refine the selected label, or say why not."""
    try:
        session.refine()
    except ValueError as error:
        show_warning(str(error))


def _ignoring_viewer(action: Callable[[], Any]) -> Callable[[Any], None]:
    def call(_viewer: Any) -> None:
        action()

    return call
