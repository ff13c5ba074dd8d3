"""Readers of the field's files, one module a format: a path in, data sets by name out."""

__all__: list[str] = []
