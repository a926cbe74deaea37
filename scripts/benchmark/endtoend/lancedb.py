"""LanceDB, with an embedding function of its registry."""

import json

import lancedb
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector


def build(corpus, index, model):
    encoder = get_registry().get("sentence-transformers").create(name=model)

    class Document(LanceModel):
        id: str
        text: str = encoder.SourceField()
        vector: Vector(encoder.ndims()) = encoder.VectorField()

    documents = [json.loads(line) for line in open(corpus)]
    table = lancedb.connect(index).create_table("documents", schema=Document)
    table.add([{"id": one["id"], "text": f"{one['title']} {one['text']}"} for one in documents])


def opened(index, model):
    return lancedb.connect(index).open_table("documents")


def search(there, text):
    hits = (
        there.search(text).distance_type("cosine").select(["id", "_distance"]).limit(10).to_list()
    )
    return [hit["id"] for hit in hits]
