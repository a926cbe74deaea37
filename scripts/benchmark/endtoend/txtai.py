"""txtai."""

import json

from txtai import Embeddings


def build(corpus, index, model):
    documents = [json.loads(line) for line in open(corpus)]
    embeddings = Embeddings(path=model)
    embeddings.index((one["id"], f"{one['title']} {one['text']}") for one in documents)
    embeddings.save(index)


def opened(index, model):
    embeddings = Embeddings()
    embeddings.load(index)
    return embeddings


def search(there, text):
    return [name for name, score in there.search(text, 10)]
