"""Unit rows and their codes: binary (sign bits), int8, and rotated int8 with what they lose.

Pure functions of arrays. Nothing is read from or written to disk here, and nothing is searched.
"""

from qsearch.codes.binary import binary_codes, pack_blocks, query_words, unpack_blocks
from qsearch.codes.bounds import (
    QueryCodes,
    int8_margins,
    int8_query_codes,
    rotated_margins,
    rotated_query_codes,
)
from qsearch.codes.int8 import Int8Codes, int8_codes
from qsearch.codes.rotated import (
    RotatedCodes,
    fit_rotation,
    fit_rotation_to,
    least_rotation_error,
    rotated_codes,
    rotation_error,
)
from qsearch.codes.sketches import center_of, sketches_of
from qsearch.codes.unit import near_cosines, unit_rows, usable_rows

__all__ = [
    "Int8Codes",
    "QueryCodes",
    "RotatedCodes",
    "binary_codes",
    "center_of",
    "fit_rotation",
    "fit_rotation_to",
    "int8_codes",
    "int8_margins",
    "int8_query_codes",
    "least_rotation_error",
    "near_cosines",
    "pack_blocks",
    "query_words",
    "rotated_codes",
    "rotated_margins",
    "rotated_query_codes",
    "rotation_error",
    "sketches_of",
    "unit_rows",
    "unpack_blocks",
    "usable_rows",
]
