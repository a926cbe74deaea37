"""The straight line of a build: documents → embeddings → unit rows → store."""

from qsearch.indexing.build import build_index
from qsearch.indexing.options import BuildOptions
from qsearch.indexing.report import BuildReport, Progress, index_sizes

__all__ = ["BuildOptions", "BuildReport", "Progress", "build_index", "index_sizes"]
