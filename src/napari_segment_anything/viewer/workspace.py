"""Which sessions a viewer has, and which one the keys speak to."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ..core.engine import Engine
from ..core.requests import ModelRef, name_of
from .controller import LayerSession, Notify
from .dispatch import Dispatcher
from .keys import bind_keys, unbind_keys
from .view import unwrapped

if TYPE_CHECKING:
    from napari.components import ViewerModel

_WORKSPACES: WeakValueDictionary[int, Workspace] = WeakValueDictionary()


class Workspace:
    """The sessions of one viewer; they share an engine, so models and embeddings.

    It lives as long as the viewer, whose key bindings hold it.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.engine = Engine()
        self.sessions: list[LayerSession] = []
        self.preferred: LayerSession | None = None

    @classmethod
    def of(cls, viewer: Any) -> Workspace:
        """The viewer's workspace, made if there is none."""
        real = unwrapped(viewer)
        found = _WORKSPACES.get(id(real))
        if found is None or found.viewer is not real:
            found = _WORKSPACES[id(real)] = cls(real)
        return found

    def session_of(self, layer: Any) -> LayerSession | None:
        """The session that has ``layer`` in one of its roles."""
        layer = unwrapped(layer)
        return next((s for s in self.sessions if s.owns(layer)), None)

    @property
    def current(self) -> LayerSession | None:
        """The session of the active layer, else the one last attached or chosen in the dock."""
        return self.session_of(self.viewer.layers.selection.active) or self.preferred

    def attach(
        self,
        image: Any,
        model: ModelRef,
        make_dispatcher: Callable[[], Dispatcher],
        notify: Notify,
    ) -> LayerSession:
        """The session of an image layer, made if there is none.

        Raises:
            TypeError: not an image layer.
            ValueError: not a layer of this viewer.
        """
        from napari.layers import Image

        layer = unwrapped(image)
        if not isinstance(layer, Image):
            raise TypeError(f"Expected an image layer, got {type(layer).__name__}; choose an image.")
        if layer not in self.viewer.layers:
            raise ValueError(
                f"Expected a layer of this viewer, got {layer.name!r}, which is not in it; add it first."
            )
        session = next((s for s in self.sessions if s.image is layer), None)
        if session is None:
            session = LayerSession(
                self.viewer,
                layer,
                model,
                engine=self.engine,
                dispatcher=make_dispatcher(),
                notify=notify,
            )
            self._keep(session)
        elif name_of(model) not in (DEFAULT_MODEL, session.state.model):
            session.set_model(model)
        self.preferred = session
        return session

    def _keep(self, session: LayerSession) -> None:
        if not self.sessions:
            bind_keys(self.viewer, lambda: self.current)
        self.sessions.append(session)

        def forget(closed: bool) -> None:
            if closed:
                self._forget(session)

        session.state.events.closed.connect(forget)

    def _forget(self, session: LayerSession) -> None:
        if session in self.sessions:
            self.sessions.remove(session)
        if self.preferred is session:
            self.preferred = self.sessions[-1] if self.sessions else None
        if not self.sessions:
            unbind_keys(self.viewer)


DEFAULT_MODEL = "nano"
