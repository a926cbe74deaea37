"""A battery of encoders that differ from the one of an index, and of encoders that do not.

Each planted mismatch must be refused with a message that names it; no legitimate variation may be.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qsearch import Index, SentenceEncoder
from qsearch.encoding import Encoder, EncoderContract, check_contract, load_encoder, make_contract
from qsearch.encoding.identity import EncoderIdentity
from qsearch.encoding.onnx.cache import ExportedModel, find_export
from qsearch.encoding.onnx.encoder import OnnxEncoder
from tests.encoders import ARCHITECTURES, make_tiny

PROMPTS: dict[str, Any] = {"query_prompt": "query: ", "document_prompt": "passage: "}
WEIGHTS = "the weights differ"
TOKENIZER = "the tokenizer's definition differs"
CONFIGURATION = "the configuration of the model or its modules differs"
CANARIES = "canary texts come out differently"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("battery"), "bert", dense=True)


@pytest.fixture(scope="module")
def contract(model: Path) -> EncoderContract:
    return make_contract(SentenceEncoder(model, device="cpu", **PROMPTS))


def copy_of(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copy"))


def plain(folder: Path, **options: Any) -> SentenceEncoder:
    return SentenceEncoder(folder, device="cpu", **{**PROMPTS, **options})


def edited_json(folder: Path, name: str, edit: Callable[[Any], None]) -> None:
    for path in folder.rglob(name):
        values = json.loads(path.read_text(encoding="utf-8"))
        edit(values)
        path.write_text(json.dumps(values, ensure_ascii=False), encoding="utf-8")


# Planted mismatches: (name, what makes the encoder of model and a folder to write to, what is named)

Plant = Callable[[Path, Path], Encoder]


def option(**options: Any) -> Plant:
    return lambda model, tmp_path: plain(model, **options)


def other_model(architecture: str, seed: int = 0) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        return plain(make_tiny(tmp_path, architecture, dense=True, seed=seed))

    return plant


def changed_weight(number: int) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        from safetensors.torch import load_file, save_file

        folder = copy_of(model, tmp_path)
        files = sorted(folder.rglob("*.safetensors"))
        names = [(path, name) for path in files for name in sorted(load_file(path))]
        path, name = names[number * 5 % len(names)]
        weights = load_file(path)
        weights[name].view(-1)[0] += 1e-6
        save_file(weights, path, metadata={"format": "pt"})
        return plain(folder)

    return plant


def module(change: Callable[[Any], list[Any]]) -> Plant:
    """Another list of modules."""

    def plant(model: Path, tmp_path: Path) -> Encoder:
        from sentence_transformers import SentenceTransformer

        modules = change(list(SentenceTransformer(str(model), device="cpu")))
        return SentenceEncoder(SentenceTransformer(modules=modules, device="cpu"), **PROMPTS)

    return plant


def pooling(mode: Any) -> Plant:
    from sentence_transformers.sentence_transformer.modules import Pooling

    return module(lambda all_: [all_[0], Pooling(32, mode), *all_[2:]])


def dense_with(**changes: Any) -> Plant:
    from sentence_transformers.sentence_transformer.modules import Dense

    torch.manual_seed(7)
    return module(lambda all_: [*all_[:2], Dense(32, 16, **changes), *all_[3:]])


def fewer_layers(all_: list[Any]) -> list[Any]:
    layers = all_[0].auto_model.encoder
    layers.layer = layers.layer[:1]
    return all_


def normalize_before_dense(all_: list[Any]) -> list[Any]:
    from sentence_transformers.sentence_transformer.modules import Normalize

    return [*all_[:2], Normalize(), *all_[2:]]


def tokenizer(edit: Callable[[Any], None]) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        folder = copy_of(model, tmp_path)
        edited_json(folder, "tokenizer.json", edit)
        return plain(folder)

    return plant


def normalizer(**changes: Any) -> Plant:
    return tokenizer(lambda values: values["normalizer"].update(changes))


def unicode_form(form: str) -> Plant:
    def edit(values: Any) -> None:
        values["normalizer"] = {
            "type": "Sequence",
            "normalizers": [{"type": form}, values["normalizer"]],
        }

    return tokenizer(edit)


def swapped_pieces(values: Any) -> None:
    vocabulary = values["model"]["vocab"]
    vocabulary["the"], vocabulary["had"] = vocabulary["had"], vocabulary["the"]


def without_first_token(values: Any) -> None:
    values["post_processor"]["single"] = values["post_processor"]["single"][1:]


def configuration(**changes: Any) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        folder = copy_of(model, tmp_path)
        path = folder / "config.json"  # the transformer's own, not that of another module
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}))
        return plain(folder)

    return plant


class Habit:
    """An encoder of another library: the same model and fields, another habit with texts."""

    def __init__(self, encoder: Encoder, edit: Callable[[str], str], *, silent: bool) -> None:
        self._encoder, self._edit, self._silent = encoder, edit, silent

    def identity(self) -> EncoderIdentity:
        identity = self._encoder.identity()
        return EncoderIdentity("?", identity.dimensions) if self._silent else identity

    def encode_documents(self, texts: Any, advance: Any = None) -> np.ndarray:
        return self._encoder.encode_documents([self._edit(text) for text in texts], advance)

    def encode_queries(self, texts: Any) -> np.ndarray:
        return self._encoder.encode_queries([self._edit(text) for text in texts])

    def truncated(self, texts: Any) -> int:
        return 0


def habit(edit: Callable[[str], str], *, silent: bool = False, **options: Any) -> Plant:
    return lambda model, tmp_path: Habit(plain(model, **options), edit, silent=silent)


def silent(**options: Any) -> Plant:
    return habit(lambda text: text, silent=True, **options)


def foreign_export(swap: str) -> Plant:
    """Files of another model's export under the name of this one."""

    def plant(model: Path, tmp_path: Path) -> Encoder:
        other = load_encoder(str(make_tiny(tmp_path, "bert", dense=True, seed=5)), backend="onnx")
        own = load_encoder(str(model), backend="onnx")
        found, foreign = find_export(own.identity()), find_export(other.identity())
        assert found is not None
        assert foreign is not None
        folder = Path(shutil.copytree(found.folder, tmp_path / "mixed"))
        for name in swap.split():
            shutil.copy(foreign.folder / name, folder / name)
        if swap == "tokenizer.json":
            edited_json(folder, swap, swapped_pieces)
        mixed = ExportedModel(folder, found.identity, 1.0, rows_may_vary=True)
        return OnnxEncoder(mixed, replace(found.identity, **PROMPTS))

    return plant


MISMATCHES: list[tuple[str, Plant, str]] = [
    *((f"architecture {one}", other_model(one), WEIGHTS) for one in ARCHITECTURES[1:]),
    *((f"seed {seed}", other_model("bert", seed), WEIGHTS) for seed in (1, 2)),
    *((f"one weight, {number}", changed_weight(number), WEIGHTS) for number in range(10)),
    ("one layer less", module(fewer_layers), WEIGHTS),
    ("dense dropped", module(lambda all_: [*all_[:2], all_[3]]), "dimensions: the index has 16"),
    ("other dense weights", dense_with(), WEIGHTS),
    ("other activation", dense_with(activation_function=torch.nn.ReLU()), WEIGHTS),
    ("normalize before dense", module(normalize_before_dense), CONFIGURATION),
    (
        "no query prompt",
        option(query_prompt=""),
        "query prompt: the index has 'query: ', this encoder ''",
    ),
    ("other query prompt", option(query_prompt="search: "), "this encoder 'search: '"),
    ("query prompt without blank", option(query_prompt="query:"), "this encoder 'query:'"),
    ("query prompt in capitals", option(query_prompt="Query: "), "this encoder 'Query: '"),
    (
        "no document prompt",
        option(document_prompt=""),
        "document prompt: the index has 'passage: '",
    ),
    ("other document prompt", option(document_prompt="text: "), "this encoder 'text: '"),
    (
        "prompts swapped",
        option(query_prompt="passage: ", document_prompt="query: "),
        "query prompt",
    ),
    ("no prompts", option(query_prompt="", document_prompt=""), "document prompt"),
    ("one prompt for both", option(document_prompt="query: "), "document prompt"),
    *(
        (
            f"max length {n}",
            option(max_length=n),
            f"maximum length: the index has 64, this encoder {n}",
        )
        for n in (16, 32, 63, 65, 100)
    ),
    ("longer than canaries show", option(max_length=128), "maximum length"),
    *(
        (f"pooling {mode}", pooling(mode), f"pooling: the index has 'mean', this encoder '{mode}'")
        for mode in ("cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
    ),
    *(
        (f"truncated to {n}", option(truncate_dim=n), f"the index has 16, this encoder gives {n}")
        for n in (4, 8, 15)
    ),
    ("not stripped", option(strip=False), "stripping of surrounding whitespace"),
    ("bfloat16", option(precision="bfloat16"), "precision of the weights"),
    ("float16", option(precision="float16"), "precision of the weights"),
    ("no lower-casing", normalizer(lowercase=False), TOKENIZER),
    ("accents kept", normalizer(strip_accents=False), TOKENIZER),
    ("chinese characters together", normalizer(handle_chinese_chars=False), TOKENIZER),
    ("control characters kept", normalizer(clean_text=False), TOKENIZER),
    *((f"tokenizer with {form}", unicode_form(form), TOKENIZER) for form in ("NFC", "NFD", "NFKC")),
    ("two pieces swapped", tokenizer(swapped_pieces), TOKENIZER),
    ("no first token", tokenizer(without_first_token), TOKENIZER),
    (
        "other pieces",
        tokenizer(lambda v: v["model"].update(continuing_subword_prefix="@@")),
        TOKENIZER,
    ),
    (
        "shorter words",
        tokenizer(lambda v: v["model"].update(max_input_chars_per_word=5)),
        TOKENIZER,
    ),
    ("other activation inside", configuration(hidden_act="relu"), CONFIGURATION),
    ("other epsilon", configuration(layer_norm_eps=1e-3), CONFIGURATION),
    ("fewer heads", configuration(num_attention_heads=2), CONFIGURATION),
    ("a library that lower-cases", habit(str.lower), CANARIES),
    ("a library that joins lines", habit(lambda t: " ".join(t.split("\n"))), ""),
    ("a library that writes capitals", habit(str.upper), CANARIES),
    ("a library that cuts at 40 characters", habit(lambda t: t[:40]), CANARIES),
    ("a library that adds a full stop", habit(lambda t: t + "."), CANARIES),
    ("a library that escapes markup", habit(lambda t: t.replace("<", "&lt;")), CANARIES),
    ("a silent library without a query prompt", silent(query_prompt=""), "only queries differ"),
    ("a silent library without prompts", silent(query_prompt="", document_prompt=""), CANARIES),
    ("a silent library that does not strip", silent(strip=False), ""),
    ("a silent library that cuts at 32", silent(max_length=32), CANARIES),
    ("a silent library in bfloat16", silent(precision="bfloat16"), CANARIES),
    ("an export with weights of another model", foreign_export("weights.bin"), CANARIES),
    (
        "an export with the graph of another model",
        foreign_export("model.onnx weights.bin"),
        CANARIES,
    ),
    ("an export with another tokenizer", foreign_export("tokenizer.json"), CANARIES),
]

HARMLESS = {
    "a library that joins lines",
    "a silent library that does not strip",
}
"""What this tokenizer does away with anyway: nothing is to be caught, and nothing may be."""


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        pytest.param(plant, named, id=name)
        for name, plant, named in MISMATCHES
        if name not in HARMLESS
    ],
)
def test_a_planted_mismatch_is_caught_and_named(
    plant: Plant, named: str, model: Path, contract: EncoderContract, tmp_path: Path
) -> None:
    check = check_contract(contract, plant(model, tmp_path))
    assert not check.ok
    assert named in "\n".join(check.differences), check.differences


def test_the_battery_is_large_enough() -> None:
    assert len(MISMATCHES) - len(HARMLESS) >= 60
    variations = len(VARIATIONS) + len(HARMLESS)
    assert variations + 2 * len(ARCHITECTURES) + 4 >= 40  # with the tests below
    assert len({name for name, *_ in MISMATCHES}) == len(MISMATCHES)


# Legitimate variations: the same encoder in another way


def threads(count: int, backend: str) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        os.environ["QSEARCH_THREADS"] = str(count)
        torch.set_num_threads(count)
        return load_encoder(str(model), device="cpu", backend=backend, **PROMPTS)

    return plant


def several_devices(model: Path, tmp_path: Path) -> Encoder:
    return SentenceEncoder(model, device="cpu,cpu", **PROMPTS)


def batch_rows(rows: int) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        encoder = plain(model)
        encoder._document_rows = encoder._query_rows = lambda length: rows  # type: ignore[method-assign] # (planted)
        return encoder

    return plant


def moved(backend: str) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        folder = copy_of(model, tmp_path)
        (folder / "README.md").write_text("moved")
        return load_encoder(str(folder), device="cpu", backend=backend, **PROMPTS)

    return plant


def attention(implementation: str) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        encoder = plain(model)
        core: Any = encoder.model[0].auto_model
        core.set_attn_implementation(implementation)
        return encoder

    return plant


def older_libraries(**versions: str) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        encoder = plain(model)
        identity = encoder.identity()
        encoder._identity = replace(identity, versions={**identity.versions, **versions})
        return encoder

    return plant


def stored_otherwise(shard: str) -> Plant:
    def plant(model: Path, tmp_path: Path) -> Encoder:
        encoder = plain(model)
        encoder.model.save(str(tmp_path / "saved"))
        core: Any = encoder.model[0].auto_model
        core.save_pretrained(tmp_path / "saved", max_shard_size=shard)
        return plain(tmp_path / "saved")

    return plant


def without_normalize(all_: list[Any]) -> list[Any]:
    return all_[:-1]


def export_with_prompts(model: Path, tmp_path: Path) -> Encoder:
    return load_encoder(str(model), backend="onnx", **PROMPTS)


def as_object(model: Path, tmp_path: Path) -> Encoder:
    return SentenceEncoder(plain(model).model, **PROMPTS)


def default_dtype(model: Path, tmp_path: Path) -> Encoder:
    encoder = plain(model)
    encoder.model.double().float()
    return encoder


def called_before(model: Path, tmp_path: Path) -> Encoder:
    encoder = plain(model)
    encoder.model.encode(["padding and truncation are left behind by this " * 40, "x"])
    encoder.model.train()
    return encoder


VARIATIONS: list[tuple[str, Plant]] = [
    ("several devices", several_devices),
    *(
        (f"{n} threads, {backend}", threads(n, backend))
        for n in (1, 2, 3, 4)
        for backend in ("torch", "onnx")
    ),
    *((f"batches of {rows}", batch_rows(rows)) for rows in (1, 2, 3, 8, 32, 64)),
    *((f"moved, {backend}", moved(backend)) for backend in ("torch", "onnx")),
    *((f"{one} attention", attention(one)) for one in ("eager", "sdpa")),
    ("older sentence-transformers", older_libraries(**{"sentence-transformers": "5.3.0"})),
    ("older torch", older_libraries(torch="2.6.0")),
    ("older transformers", older_libraries(transformers="5.0.0")),
    *((f"weights in shards of {size}", stored_otherwise(size)) for size in ("20KB", "5GB")),
    ("no Normalize at the end", module(without_normalize)),
    ("through onnx", export_with_prompts),
    ("as an object", as_object),
    ("through float64 and back", default_dtype),
    ("after other calls, in training mode", called_before),
]


@pytest.fixture
def threads_put_back() -> Iterator[None]:
    before, named = torch.get_num_threads(), os.environ.get("QSEARCH_THREADS")
    yield
    torch.set_num_threads(before)
    os.environ.pop("QSEARCH_THREADS", None)
    if named is not None:
        os.environ["QSEARCH_THREADS"] = named


@pytest.mark.usefixtures("threads_put_back")
@pytest.mark.parametrize(
    "plant",
    [
        *(pytest.param(plant, id=name) for name, plant in VARIATIONS),
        *(pytest.param(plant, id=name) for name, plant, _ in MISMATCHES if name in HARMLESS),
    ],
)
def test_a_legitimate_variation_raises_no_alarm(
    plant: Plant, model: Path, contract: EncoderContract, tmp_path: Path
) -> None:
    check = check_contract(contract, plant(model, tmp_path))
    assert check.ok, check.differences


@pytest.mark.parametrize("then", ["torch", "onnx"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_torch_and_onnx_are_no_mismatch(architecture: str, then: str, tmp_path: Path) -> None:
    folder = str(make_tiny(tmp_path, architecture))
    now = "onnx" if then == "torch" else "torch"
    contract = make_contract(load_encoder(folder, device="cpu", backend=then))
    check = check_contract(contract, load_encoder(folder, device="cpu", backend=now))
    assert check.ok, check.differences


@pytest.mark.parametrize("backend", ["torch", "onnx"])
@pytest.mark.parametrize("number", ["1", "2"])
def test_another_process_is_no_mismatch(
    backend: str, number: str, model: Path, tmp_path: Path
) -> None:
    Index.build([{"id": "a", "text": "cat"}], tmp_path / "i", encoder=str(model)).close()
    environment = {**os.environ, "OMP_NUM_THREADS": number, "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "qsearch", "doctor", "-i", str(tmp_path / "i")]
    done = subprocess.run(
        [*command, "--backend", backend, "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ok"] is True


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_is_no_mismatch(model: Path, contract: EncoderContract) -> None:
    check = check_contract(contract, SentenceEncoder(model, device="cuda", **PROMPTS))
    assert check.ok, check.differences
