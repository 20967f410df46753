"""Keys that napari leaves free on every layer, so that no layer swallows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from .controller import LayerSession


@dataclass(frozen=True)
class Key:
    """A letter, what it does in words, and the doing."""

    letter: str
    help: str
    act: Callable[[LayerSession], None]


KEYS = {
    "commit": Key("K", "Keep: make an object of the mask", lambda s: s.commit()),
    "cancel": Key("J", "Junk: forget the marks", lambda s: s.cancel()),
    "next": Key("N", "Next candidate", lambda s: s.next_candidate()),
    "remove": Key("U", "Undo the last point or shape", lambda s: s.remove_last_prompt()),
    "sign": Key("Q", "Switch foreground / background", lambda s: s.toggle_positive()),
    "refine": Key("G", "Grab the selected label to refine it", lambda s: s.refine()),
    "points": Key("W", "Work with points: back to clicking", lambda s: s.use_points()),
    "box": Key("H", "Draw a box", lambda s: s.use_shapes("rectangle")),
}


def bind_keys(viewer: ViewerModel, current: Callable[[], LayerSession | None]) -> None:
    """Bind every key; each speaks to the session that ``current`` gives at that moment."""
    for key in KEYS.values():
        viewer.bind_key(key.letter, _handler(key, current), overwrite=True)


def unbind_keys(viewer: ViewerModel) -> None:
    """Take every key back."""
    for key in KEYS.values():
        viewer.bind_key(key.letter, None, overwrite=True)


def _handler(key: Key, current: Callable[[], LayerSession | None]) -> Callable[[Any], None]:
    def handle(viewer: Any) -> None:
        session = current()
        if session is None:
            return
        try:
            key.act(session)
        except ValueError as error:  # a sentence for the person, not a traceback
            show_warning(str(error))

    handle.__doc__ = f"Segment Anything: {key.help}."
    handle.__name__ = f"segment_anything_{key.help.split()[0].lower().rstrip(':')}"
    return handle
