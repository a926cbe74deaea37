"""Plain sentence-transformers: its encoder, its semantic_search, and files of one's own."""

import json

import numpy as np
from sentence_transformers import SentenceTransformer, util


def build(corpus, index, model):
    documents = [json.loads(line) for line in open(corpus)]
    texts = [f"{one['title']} {one['text']}" for one in documents]
    vectors = SentenceTransformer(model).encode(texts, normalize_embeddings=True)
    np.savez(index, vectors=vectors, ids=np.array([one["id"] for one in documents]))


def opened(index, model):
    stored = np.load(f"{index}.npz")
    return SentenceTransformer(model), stored["vectors"], stored["ids"]


def search(there, text):
    model, vectors, ids = there
    query = model.encode(text, normalize_embeddings=True)
    return [ids[hit["corpus_id"]] for hit in util.semantic_search(query, vectors, top_k=10)[0]]
