"""The straight lines of a build and of a change: documents → embeddings → unit rows → store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsearch.lazily import lazily

if TYPE_CHECKING:
    from qsearch.indexing.apply import (
        Changes,
        Changing,
        change_index,
        compact_index,
        compare_index,
        delete_from,
        delete_matching,
        index_fields,
        index_graph,
        index_text,
        upgrade_index,
    )
    from qsearch.indexing.build import build_index
    from qsearch.indexing.changing import Source
    from qsearch.indexing.options import BuildOptions
    from qsearch.indexing.report import (
        BuildReport,
        ChangeReport,
        CompactReport,
        Progress,
        TextIndexReport,
        UpgradeReport,
        index_sizes,
    )
    from qsearch.indexing.sorting import ADD, SYNC, UPSERT

__all__ = [
    "ADD",
    "SYNC",
    "UPSERT",
    "BuildOptions",
    "BuildReport",
    "ChangeReport",
    "Changes",
    "Changing",
    "CompactReport",
    "Progress",
    "Source",
    "TextIndexReport",
    "UpgradeReport",
    "build_index",
    "change_index",
    "compact_index",
    "compare_index",
    "delete_from",
    "delete_matching",
    "index_fields",
    "index_graph",
    "index_sizes",
    "index_text",
    "upgrade_index",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "ADD": ".sorting",
        "SYNC": ".sorting",
        "UPSERT": ".sorting",
        "BuildOptions": ".options",
        "BuildReport": ".report",
        "ChangeReport": ".report",
        "Changes": ".apply",
        "Changing": ".apply",
        "CompactReport": ".report",
        "Progress": ".report",
        "Source": ".changing",
        "TextIndexReport": ".report",
        "UpgradeReport": ".report",
        "build_index": ".build",
        "change_index": ".apply",
        "compact_index": ".apply",
        "compare_index": ".apply",
        "delete_from": ".apply",
        "delete_matching": ".apply",
        "index_fields": ".apply",
        "index_graph": ".apply",
        "index_sizes": ".report",
        "index_text": ".apply",
        "upgrade_index": ".apply",
    },
)
