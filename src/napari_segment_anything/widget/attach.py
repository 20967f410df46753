"""`attach`: a session for an image layer, in a window or without one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ..viewer.controller import LayerSession
from ..viewer.dispatch import Dispatcher, InlineDispatcher
from ..viewer.workspace import DEFAULT_MODEL, Workspace

if TYPE_CHECKING:
    from ..inference.model import Model

BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")


def attach(
    viewer: Any,
    image_layer: Any,
    model: str | Model = DEFAULT_MODEL,
    *,
    points: Any = None,
    shapes: Any = None,
    labels: Any = None,
) -> LayerSession:
    """Segment an image layer by points, shapes and labels, live.

    Args:
        viewer: ``napari.Viewer``, or ``napari.components.ViewerModel`` where there is no Qt.
        image_layer: one of its image layers, of any number of axes, colour or not.
        model: name or path, or what `load_model` returned. Loading and encoding begin now.
        points: a points layer to adopt; by default one is made.
        shapes: a shapes layer to adopt; by default one is made.
        labels: a labels layer of the image's shape for the objects; by default one is made.

    Returns:
        The session. A second call for the same layer returns the same one, and changes its model
        only if another than the default is named.

    Raises:
        TypeError: ``image_layer`` is no image layer.
        ValueError: it is not in ``viewer``, or a layer to adopt does not fit.
    """
    session = Workspace.of(viewer).attach(image_layer, model, make_dispatcher, notify)
    for role, layer in (("points", points), ("shapes", shapes), ("labels", labels)):
        if layer is not None:
            session.adopt(role, layer)
    return session


def make_dispatcher() -> Dispatcher:
    """Qt's where an application runs, else the in-line queue."""
    if not application_runs():
        return InlineDispatcher()
    from .worker import QtDispatcher

    return QtDispatcher()


def application_runs() -> bool:
    """True if this process has a Qt application; does not import Qt to find out."""
    if not any(f"{name}.QtWidgets" in sys.modules for name in BINDINGS):
        return False
    from qtpy.QtWidgets import QApplication

    return QApplication.instance() is not None


def notify(message: str, *, error: bool) -> None:
    """A napari notification; the terminal's, where there is no window."""
    from napari.utils.notifications import show_error, show_warning

    (show_error if error else show_warning)(f"Segment Anything: {message}")
