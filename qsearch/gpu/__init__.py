"""Certified exact search on a GPU, with the same ids and the same score bits as on the CPU.

``placing`` decides whether an index is searched there. ``rows`` brings its codes to a device, ``codes``
makes those of queries, ``steps`` defines in plain torch what is done with them, and ``kernels`` does the
same in Triton; ``search`` puts the steps together, and ``exact`` several devices. docs/exactness.md has
the proof.

torch is imported where it is used: ``import qsearch`` needs neither it nor Triton.
"""

from qsearch.gpu.placing import Placing, has_gpu

__all__ = ["Placing", "has_gpu"]
