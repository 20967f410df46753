"""The dock, and where jobs run in an application; the only room that imports Qt."""
