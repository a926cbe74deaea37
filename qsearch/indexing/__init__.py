"""The straight line of a build: documents → embeddings → unit rows → store."""

from qsearch.indexing.build import build_index
from qsearch.indexing.report import BuildOptions, BuildReport, Progress, index_sizes

__all__ = ["BuildOptions", "BuildReport", "Progress", "build_index", "index_sizes"]
