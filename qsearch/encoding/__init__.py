"""Text to embeddings: encoders, and the contract that ties an index to one of them.

Heavy packages (torch, sentence_transformers, huggingface_hub) are imported inside the functions
that use them. Nothing here knows what an index looks like on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsearch.lazily import lazily

if TYPE_CHECKING:
    from qsearch.encoding.contract import (
        ContractCheck,
        EncoderContract,
        check_contract,
        make_contract,
    )
    from qsearch.encoding.identity import UNNAMED_MODEL, EncoderIdentity
    from qsearch.encoding.loading import BACKENDS, adapted, load_encoder, load_encoder_of
    from qsearch.encoding.models import DEFAULT_MODEL, locate_model
    from qsearch.encoding.protocols import Encoder, TokenEncoder

__all__ = [
    "BACKENDS",
    "DEFAULT_MODEL",
    "UNNAMED_MODEL",
    "ContractCheck",
    "Encoder",
    "EncoderContract",
    "EncoderIdentity",
    "TokenEncoder",
    "adapted",
    "check_contract",
    "load_encoder",
    "load_encoder_of",
    "locate_model",
    "make_contract",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "BACKENDS": ".loading",
        "DEFAULT_MODEL": ".models",
        "UNNAMED_MODEL": ".identity",
        "ContractCheck": ".contract",
        "Encoder": ".protocols",
        "EncoderContract": ".contract",
        "EncoderIdentity": ".identity",
        "TokenEncoder": ".protocols",
        "adapted": ".loading",
        "check_contract": ".contract",
        "load_encoder": ".loading",
        "load_encoder_of": ".loading",
        "locate_model": ".models",
        "make_contract": ".contract",
    },
)
