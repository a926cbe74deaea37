"""Chroma, with its embedding function for sentence-transformers."""

import json

import chromadb
from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction


def build(corpus, index, model):
    documents = [json.loads(line) for line in open(corpus)]
    collection = chromadb.PersistentClient(index).create_collection(
        "documents",
        embedding_function=SentenceTransformerEmbeddingFunction(model_name=model),
        configuration={"hnsw": {"space": "cosine"}},
    )
    for first in range(0, len(documents), 5000):
        some = documents[first : first + 5000]
        texts = [f"{one['title']} {one['text']}" for one in some]
        collection.add(ids=[one["id"] for one in some], documents=texts)


def opened(index, model):
    encoder = SentenceTransformerEmbeddingFunction(model_name=model)
    return chromadb.PersistentClient(index).get_collection("documents", embedding_function=encoder)


def search(there, text):
    return there.query(query_texts=[text], n_results=10, include=[])["ids"][0]
