"""The dock widget and its worker: the only place where Qt is imported."""
