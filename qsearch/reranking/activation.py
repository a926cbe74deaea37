"""What becomes of the output of a cross-encoder, one number after the other.

Functions over arrays take one way for eight numbers and another for the rest, which may round otherwise: a
score would depend on its neighbours again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ACTIVATIONS", "activated", "activation_of"]


def _sigmoid(logit: float) -> float:
    """Without overflow: the exponent is never positive."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    small = math.exp(logit)
    return small / (1.0 + small)


ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "identity": lambda logit: logit,
    "sigmoid": _sigmoid,
}
"""Those that cross-encoders of one label have, by the names that an identity gives them."""


def activation_of(function: Any) -> str:
    """The name of an activation function of torch."""
    name = type(function).__name__
    return name.lower() if name.lower() in ACTIVATIONS else name


def activated(name: str, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply one of ``ACTIVATIONS`` in float64, rounded once to float32.

    Args:
        name: of the function.
        logits: (n,) float32; what is not finite stays what it is.

    Returns:
        (n,) float32.
    """
    function = ACTIVATIONS[name]
    values = [function(one) if math.isfinite(one) else one for one in logits.tolist()]
    return np.array(values, dtype=np.float32)
