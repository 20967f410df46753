"""Keys of the sessions in a viewer, on letters that napari and its layers leave free."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from napari.components import ViewerModel
from napari.layers import Layer
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

    def owns(self, layer: Layer) -> bool:
        """Whether a layer belongs to the session."""


ACTIONS: dict[str, Callable[[Commands], Any]] = {
    COMMIT: lambda session: session.commit(),
    NEXT: lambda session: session.next_candidate(),
    CANCEL: lambda session: session.cancel(),
    UNDO_PROMPT: lambda session: session.remove_last_prompt(),
    TOGGLE: lambda session: session.toggle_foreground(),
    REFINE: lambda session: refine_selected(session),
}

_KEYS: weakref.WeakKeyDictionary[ViewerModel, ViewerKeys] = weakref.WeakKeyDictionary()


class ViewerKeys:
    """The keys of one viewer: they act on the session whose layer is active, else on the latest.

    They hold no session alive. When the last one leaves, the keys do again what they did before.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = weakref.ref(viewer)
        self._sessions: list[weakref.ref[Commands]] = []
        self._before: dict[str, Any] = {}

    @property
    def sessions(self) -> list[Commands]:
        """Sessions that are open, the latest one last."""
        return [session for ref in self._sessions if (session := ref()) is not None]

    def put_last(self, session: Commands) -> None:
        """Make a session the latest one; the first one takes the keys."""
        viewer = self._viewer()
        if not self._sessions and viewer is not None:
            bound = {str(binding): action for binding, action in viewer.keymap.items()}
            self._before = {key: bound.get(key) for key in ACTIONS}
            for key in ACTIONS:
                viewer.bind_key(key, self._pressed(key), overwrite=True)
        self._sessions = [ref for ref in self._sessions if ref() is not session]
        self._sessions.append(weakref.ref(session))

    def remove(self, session: Commands) -> None:
        """A session has ended; the last one gives the keys back."""
        self._sessions = [ref for ref in self._sessions if ref() not in (session, None)]
        viewer = self._viewer()
        if not self._sessions and viewer is not None:
            for key, action in self._before.items():
                viewer.bind_key(key, action, overwrite=True)

    def _pressed(self, key: str) -> Callable[[ViewerModel], None]:
        def act(viewer: ViewerModel) -> None:
            session = self.session_for(viewer.layers.selection.active)
            if session is not None:
                ACTIONS[key](session)

        return act

    def session_for(self, layer: Layer | None) -> Commands | None:
        """The session that owns a layer, else the latest one."""
        sessions = self.sessions
        owners = [s for s in sessions if layer is not None and s.owns(layer)]
        return next(reversed(owners or sessions), None)


def bind_keys(viewer: ViewerModel, session: Commands) -> None:
    """Let the keys act on this session, where no other session's layer is active."""
    _KEYS.setdefault(viewer, ViewerKeys(viewer)).put_last(session)


def unbind_keys(viewer: ViewerModel, session: Commands) -> None:
    """The session has ended."""
    keys = _KEYS.get(viewer)
    if keys is not None:
        keys.remove(session)


def refine_selected(session: Commands) -> None:
    """Refine the selected label, or say why not."""
    try:
        session.refine()
    except ValueError as error:
        show_warning(str(error))
