"""qsearch."""

from qsearch import Index


def build(corpus, index, model):
    Index.build(corpus, index, encoder=model)


def opened(index, model):
    return Index.open(index)


def search(there, text):
    return [hit.id for hit in there.search(text, 10)]
