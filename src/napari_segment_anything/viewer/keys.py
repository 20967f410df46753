"""Keys of a session, on letters that napari and its layers leave free."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.utils.notifications import show_warning

if TYPE_CHECKING:
    from .controller import Controller

COMMIT, NEXT, CANCEL, UNDO_PROMPT, TOGGLE, REFINE = "G", "N", "Q", "U", "K", "J"


def bind_keys(viewer: ViewerModel, controller: Controller) -> None:
    """Let the keys act on this session; an earlier session's bindings are replaced."""
    actions: dict[str, Callable[[], Any]] = {
        COMMIT: controller.commit,
        NEXT: controller.next_candidate,
        CANCEL: controller.cancel,
        UNDO_PROMPT: controller.remove_last_prompt,
        TOGGLE: controller.toggle_foreground,
        REFINE: lambda: refine_selected(controller),
    }
    for key, action in actions.items():
        viewer.bind_key(key, _ignoring_viewer(action), overwrite=True)


def unbind_keys(viewer: ViewerModel) -> None:
    """Free the keys again."""
    for key in (COMMIT, NEXT, CANCEL, UNDO_PROMPT, TOGGLE, REFINE):
        viewer.bind_key(key, None, overwrite=True)


def refine_selected(controller: Controller) -> None:
    """Refine the selected label, or say why not."""
    try:
        controller.refine()
    except ValueError as error:
        show_warning(str(error))


def _ignoring_viewer(action: Callable[[], Any]) -> Callable[[Any], None]:
    def call(_viewer: Any) -> None:
        action()

    return call
