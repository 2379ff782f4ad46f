"""From real Wikipedia to a million realistic memories in a running database, and a verdict on it."""

__version__ = "0.1.0"
