"""Other people's frameworks on qsearch: one module each.

A module here speaks the words of one framework and asks an ``Index``. The framework itself is imported
where its user has imported it already, never here at the top, so that a module can be looked at without
it.
"""

__all__ = ["mteb"]
