"""The inner loops: one set of signatures, several implementations.

``reference`` defines every function in plain NumPy. The others must give the same integers bit for
bit and the same float scores bit for bit, whatever the block size, thread count or instruction set.
Arrays in, arrays out: no file, no policy, no Python object beyond arrays.
"""

from qsearch.kernels.reference import (
    LANES,
    cosine_gather,
    hamming_distances,
    hamming_nearest,
    lane_dot,
)

__all__ = ["LANES", "cosine_gather", "hamming_distances", "hamming_nearest", "lane_dot"]
