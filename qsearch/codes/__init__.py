"""Unit rows and their codes: binary (sign bits) and int8 with scale and residual.

Pure functions of arrays. Nothing is read from or written to disk here, and nothing is searched.
"""

from qsearch.codes.binary import binary_codes, pack_blocks, query_words, unpack_blocks
from qsearch.codes.int8 import Int8Codes, int8_codes
from qsearch.codes.unit import unit_rows

__all__ = [
    "Int8Codes",
    "binary_codes",
    "int8_codes",
    "pack_blocks",
    "query_words",
    "unit_rows",
    "unpack_blocks",
]
