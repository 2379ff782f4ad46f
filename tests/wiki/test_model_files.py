"""Finding a model and telling it from others; without torch."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from synthgen.errors import InputError
from synthgen.wiki.model_files import DEFAULT_MODEL, digest_model, find_model, import_extra
from synthgen.wiki.sentence_model import SentenceEmbedder

FILES = {
    "config.json": "{}",
    "modules.json": "[]",
    "model.safetensors": "weights",
    "tokenizer.json": "tokens",
    "vocab.txt": "words",
    "1_Pooling/config.json": "{}",
    "2_Dense/pytorch_model.bin": "more weights",
}
OTHER_FILES = ("README.md", "pytorch_model.bin", "onnx/model.onnx", "onnx/config.json", ".gitattributes")


@pytest.fixture
def folder(tmp_path) -> Path:
    model = tmp_path / "model"
    for name, text in FILES.items():
        path = model / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return model


def test_the_digest_is_of_what_vectors_depend_on(folder, tmp_path):
    digest = digest_model(folder)
    assert len(digest) == 64
    for name, text in FILES.items():
        path = folder / name
        path.write_text(text + "x")
        assert digest_model(folder) != digest, name
        path.unlink()
        assert digest_model(folder) != digest, name
        path.write_text(text)
    assert digest_model(folder) == digest
    for name in OTHER_FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("for people and other frameworks")
    assert digest_model(folder) == digest
    shutil.copytree(folder, tmp_path / "elsewhere" / "another name")
    assert digest_model(tmp_path / "elsewhere" / "another name") == digest


def test_files_may_not_change_places(folder):
    digest = digest_model(folder)
    (folder / "1_Pooling").rename(folder / "3_Pooling")
    assert digest_model(folder) != digest


def test_a_folder_is_taken_as_it_is_if_it_holds_a_model(folder, tmp_path):
    assert find_model(str(folder)) == folder
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: is no folder of a sentence-transformers model"):
        find_model(str(tmp_path / "empty"))


@pytest.mark.parametrize("name", ["/no/such/folder", "./model", "a/b/c", "~/nowhere-at-all", " "])
def test_what_can_only_be_a_folder_is_not_looked_for_on_the_hub(name):
    with pytest.raises(InputError, match="no such folder; name the folder of a model"):
        find_model(name)


def test_missing_packages_are_one_line_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(InputError, match=r"pip install 'synthgen-memories\[wikipedia\]'") as caught:
        SentenceEmbedder("/no/such/folder")
    assert "sentence_transformers" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_importing_imports_nothing_heavy():
    code = """
import sys
import synthgen.wiki.embedding, synthgen.wiki.sentence_model, synthgen.wiki.embedding_cache
print(sorted({"torch", "transformers", "sentence_transformers", "huggingface_hub"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        (DEFAULT_MODEL, "could not be downloaded"),
        ("not a name!", "neither a folder nor the name of a model"),
    ],
)
def test_without_network_or_model_one_line_names_flag_and_folder(name, message, tmp_path):
    code = """
import sys
from synthgen.errors import SynthgenError
from synthgen.wiki.model_files import find_model
try:
    find_model(sys.argv[1])
except SynthgenError as error:
    print(error)
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", code, name], capture_output=True, text=True, check=True, env=environment
    )
    assert message in done.stdout
    assert "--embedding-model" in done.stdout
    assert "folder" in done.stdout.lower()
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_nothing_is_told_to_others_by_default(monkeypatch):
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    import_extra("json")
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
