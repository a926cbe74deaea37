"""Snippets: what a user writes with each package, from texts on disk to answers.

Each is a file of its own with the same three functions, as short as the package's documentation allows:

    build(corpus, index, model)   JSON Lines on disk → an index on disk
    opened(index, model)          what answers queries
    search(there, text)           ids of the ten nearest documents, best first

``ends.py`` measures them, and counts their lines.
"""
