"""One annotation session: prompts in, label edits out; knows neither napari nor Qt."""
