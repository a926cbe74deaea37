"""Encoders for tests: a fast one of NumPy only, and tiny real transformers with random weights."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qsearch.encoding.identity import EncoderIdentity


class HashedWords:
    """A bag of words: each word is a fixed random vector, a text is their sum.

    Cheap, deterministic on every machine, and near texts have near vectors.
    """

    def __init__(self, dimensions: int = 24, seed: str = "a", query_prompt: str = "") -> None:
        self.dimensions = dimensions
        self.seed = seed
        self.query_prompt = query_prompt
        self.encoded: list[str] = []

    def identity(self) -> EncoderIdentity:
        return EncoderIdentity(model="hashed words", dimensions=self.dimensions, strip=True)

    def encode_documents(
        self, texts: Sequence[str], advance: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        self.encoded += texts
        rows = [self._embed(text) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.dimensions)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([self._embed(self.query_prompt + text) for text in texts], np.float32)

    def truncated(self, texts: Sequence[str]) -> int:
        return sum(len(text.split()) > 100 for text in texts)

    def token_counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def token_spans(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        found = [[match.span() for match in re.finditer(r"\S+", text)] for text in texts]
        return [np.array(one, dtype=np.int64).reshape(len(one), 2) for one in found]

    def _embed(self, text: str) -> NDArray[np.float64]:
        if text.strip() == "nothing":
            return np.zeros(self.dimensions)
        if text.strip() == "not a number":
            return np.full(self.dimensions, np.nan)
        total = np.zeros(self.dimensions)
        for word in text.split():
            total += _vector_of(self.seed, word, self.dimensions)
        return total


@functools.lru_cache(maxsize=4096)
def _vector_of(seed: str, word: str, dimensions: int) -> NDArray[np.float64]:
    digest = hashlib.sha256(f"{seed} {word}".encode()).digest()
    return np.random.Generator(np.random.PCG64(list(digest[:16]))).standard_normal(dimensions)


WORDS = (
    "the a of and to in is that for it as was with be by on not he his but at are this have from or "
    "had an they which one you were all her she there would their we him been has when who will no "
    "more if out so up said what its about than into them can only other time new some could these "
    "two may first then do any like my now over such our man me even most made after also well way "
    "cat dog bird fish tree house river mountain city street school book water fire light night day "
    "music film paint stone metal wood glass paper bread milk king queen child woman doctor law war"
).split()
_CHARACTERS = [chr(c) for c in range(33, 127)] + list(
    "äéñøçßžабвгд東京日本語서울한국مكتبة−…“”’🚀👍"
)


def write_tokenizer(folder: Path, max_length: int = 64) -> None:
    """A WordPiece tokenizer with a small vocabulary that covers every character it meets."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    lowered = sorted(
        {character.lower() for character in _CHARACTERS if len(character.lower()) == 1}
    )
    pieces += [one for one in lowered if one not in pieces]
    pieces += ["##" + one for one in lowered]
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "BertTokenizer",
                "do_lower_case": True,
                "model_max_length": max_length,
            }
        )
    )


def make_tiny_bert(
    folder: Path, *, seed: int = 0, pooling: str = "mean", normalize: bool = True
) -> Path:
    """Save a two-layer BERT of 32 dimensions with random weights as a sentence-transformers model."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import BertConfig, BertModel

    core = folder / "core"
    core.mkdir(parents=True)
    write_tokenizer(core)
    vocabulary = len((core / "vocab.txt").read_text(encoding="utf-8").splitlines())
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(core)
    modules = [Transformer(str(core), max_seq_length=64), Pooling(32, pooling)]
    if normalize:
        modules.append(Normalize())
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "modernbert")


def tiny_sizes(architecture: str, vocabulary: int) -> dict[str, int | float]:
    """The configuration of a two-layer model of 32 dimensions, in the words of its architecture."""
    sizes: dict[str, int | float] = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 140,
        "initializer_range": 0.5,
        "pad_token_id": 0,
    }
    if architecture == "distilbert":
        names = {
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
        }
        sizes = {names.get(name, name): value for name, value in sizes.items()}
    if architecture == "modernbert":
        sizes |= {"local_attention": 16, "global_attn_every_n_layers": 2, "cls_token_id": 2}
        sizes |= {"sep_token_id": 3, "bos_token_id": 2, "eos_token_id": 3}
    return sizes


def make_tiny(
    folder: Path, architecture: str, *, pooling: str = "mean", dense: bool = False, seed: int = 0
) -> Path:
    """Save a two-layer model of 32 dimensions with random weights, of one of ``ARCHITECTURES``."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Normalize,
        Pooling,
        Transformer,
    )

    core = folder / "core"
    core.mkdir(parents=True)
    angled = "bert" not in architecture.replace("ro", "")
    sizes = tiny_sizes(architecture, write_fast_tokenizer(core, angled=angled))
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(architecture, **sizes)
    transformers.AutoModel.from_config(config).save_pretrained(core)
    modules = [Transformer(str(core), max_seq_length=64), Pooling(32, pooling)]
    if dense:
        modules.append(Dense(32, 16))
    modules.append(Normalize())
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


def make_tiny_cross_encoder(
    folder: Path,
    architecture: str = "bert",
    *,
    seed: int = 0,
    labels: int = 1,
    activation: str | None = None,
    max_length: int = 64,
    truncation_side: str = "right",
) -> Path:
    """Save a two-layer cross-encoder of 32 dimensions with random weights.

    Args:
        folder: to make.
        architecture: one of ``ARCHITECTURES``.
        seed: of the weights.
        labels: scores for a pair.
        activation: of ``torch.nn``; by default the library's own, and the folder is one of transformers.
        max_length: tokens of a pair.
        truncation_side: which end of a text is cut.
    """
    import torch
    import transformers
    from sentence_transformers import CrossEncoder

    core = folder if activation is None else folder / "core"
    core.mkdir(parents=True)
    angled = architecture in ("roberta", "xlm-roberta", "mpnet")
    sizes = tiny_sizes(architecture, write_fast_tokenizer(core, angled=angled))
    sizes["num_labels"] = labels
    settings = json.loads((core / "tokenizer_config.json").read_text())
    settings |= {"model_max_length": max_length, "truncation_side": truncation_side}
    if not angled and architecture == "bert":
        settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (core / "tokenizer_config.json").write_text(json.dumps(settings))
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(architecture, **sizes)
    kind = transformers.AutoModelForSequenceClassification
    kind.from_config(config).save_pretrained(core)
    if activation is None:
        return core
    function = getattr(torch.nn, activation)()
    made = CrossEncoder(str(core), device="cpu", activation_fn=function, local_files_only=True)
    made.save(str(folder / "model"))
    return folder / "model"


def make_tiny_judge(folder: Path) -> Path:
    """Save a two-layer causal language model with random weights: rerankers of today are often such."""
    import torch
    import transformers

    folder.mkdir(parents=True)
    config = transformers.AutoConfig.for_model(
        "qwen2",
        vocab_size=write_fast_tokenizer(folder, angled=False),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=140,
        initializer_range=0.5,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def write_fast_tokenizer(folder: Path, *, angled: bool) -> int:
    """A tokenizer of the tokenizers package; returns the size of its vocabulary.

    Special tokens are <s> and the like where ``angled``, else [CLS] and the like.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if angled:
        special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
    pad, unknown, first, last, mask = special
    lowered = sorted({one.lower() for one in _CHARACTERS if len(one.lower()) == 1})
    pieces = list(dict.fromkeys([*special, *WORDS, *lowered, *("##" + one for one in lowered)]))
    model = models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token=unknown)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(first, 2), (last, 3)],
    )
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 64,
        "pad_token": pad,
        "unk_token": unknown,
        "cls_token": first,
        "sep_token": last,
        "mask_token": mask,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return len(pieces)
