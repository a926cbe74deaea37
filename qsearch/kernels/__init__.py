"""The inner loops: one set of signatures, several implementations.

``reference`` defines every function in plain NumPy. The native code must give the same integers bit
for bit and the same float scores bit for bit, whatever the block size, thread count or instruction
set. Arrays in, arrays out: no file, no policy, no Python object beyond arrays.
"""

from qsearch.kernels.dispatch import (
    CascadeResult,
    CascadeSegments,
    CodedSegments,
    cascade_top_k,
    code_projections,
    code_rows,
    cosine_gather,
    first_unusable,
    hamming_nearest,
    has_native_kernels,
    int8_gather,
    kernel_path,
    kernel_paths,
    most_code,
    normalize,
    search_segments,
    thread_count,
    use_kernels,
    without_native,
)
from qsearch.kernels.graph_reference import (
    LINE_WORDS,
    NO_ROW,
    GraphRows,
    sketch_bits,
    sketch_lines,
)
from qsearch.kernels.graphs import (
    GraphFound,
    GraphResult,
    GraphSegments,
    build_links,
    graph_found,
    graph_top_k,
    link_copies,
    middle_scores,
)
from qsearch.kernels.masks import RowMask, allowed_rows
from qsearch.kernels.reference import LANES, Margins, hamming_distances, kept_rows, lane_dot

__all__ = [
    "LANES",
    "LINE_WORDS",
    "NO_ROW",
    "CascadeResult",
    "CascadeSegments",
    "CodedSegments",
    "GraphFound",
    "GraphResult",
    "GraphRows",
    "GraphSegments",
    "Margins",
    "RowMask",
    "allowed_rows",
    "build_links",
    "cascade_top_k",
    "code_projections",
    "code_rows",
    "cosine_gather",
    "first_unusable",
    "graph_found",
    "graph_top_k",
    "hamming_distances",
    "hamming_nearest",
    "has_native_kernels",
    "int8_gather",
    "kept_rows",
    "kernel_path",
    "kernel_paths",
    "lane_dot",
    "link_copies",
    "middle_scores",
    "most_code",
    "normalize",
    "search_segments",
    "sketch_bits",
    "sketch_lines",
    "thread_count",
    "use_kernels",
    "without_native",
]
