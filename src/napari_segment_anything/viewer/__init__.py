"""Binds the layers of a napari viewer to a session; napari, no Qt."""
