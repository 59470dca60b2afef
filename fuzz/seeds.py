"""Writes the seeds of the fuzz targets, corpus/TARGET/*, from the fixtures of the tests.

    python3 fuzz/seeds.py

Needs Python alone.
"""

import io
import json
import struct
import zipfile
from pathlib import Path

FUZZ = Path(__file__).parent
CRATES = FUZZ.parent / "crates"
GOLDEN = CRATES / "model_io/tests/golden"
MODELS = [
    *(CRATES / "part_3_modern/tests/golden").iterdir(),
    CRATES / "part_2_tiny_gpt/tests/golden/gpt2",
    CRATES / "part_5_moe/tests/golden/mixtral",
    CRATES / "part_7_reward/tests/golden/llama",
]


def write(target, name, content):
    """Writes a seed: bytes, or a JSON document."""
    folder = FUZZ / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(content, bytes):
        content = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    (folder / f"seed-{name}").write_bytes(content)


def load(path):
    return json.loads(path.read_text())


def described(path):
    """Description of a safetensors file: its header without offsets."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    for tensor in header.values():
        tensor.pop("data_offsets", None)
    return {"header": header, "fill": 0}


def model_folders():
    for folder in filter(lambda folder: (folder / "config.json").exists(), MODELS):
        files = {p.name: load(p) for p in folder.glob("*.json") if p.name != "golden.json"}
        config = {name: files[name] for name in files if "config" in name}
        write("config_json", folder.name, config)
        weights = {p.name: described(p) for p in folder.glob("*.safetensors")}
        weights |= {name: files[name] for name in files if "index" in name}
        write("safetensors", folder.name, weights)
        write("model_folder", folder.name, config | weights)
        for path in sorted(folder.glob("*.safetensors"))[:1]:
            write("safetensors_bytes", folder.name, path.read_bytes()[:1 << 12])
    for i, case in enumerate(load(GOLDEN / "configs.json")["cases"]):
        sizes = load(GOLDEN / "configs.json")["sizes"]
        write("config_json", f"case-{i}", {"config.json": sizes | case["config"]})
    tensors = {
        "__metadata__": {
            "sha256": "right", "tokenizer": "", "vocab_size": "9", "text_bytes": "9"
        },
        "tokens": {"dtype": "U16", "shape": [4]},
        "document_ends": {"dtype": "U64", "shape": [2]},
    }
    write("safetensors", "tokens", {"model.safetensors": {"header": tensors, "fill": 0}})
    kinds = ["BOOL", "U8", "I16", "U32", "I64", "F16", "BF16", "F32", "F64", "F8_E4M3"]
    tensors = {kind: {"dtype": kind, "shape": [2, 1]} for kind in kinds}
    tensors |= {"empty": {"dtype": "F32", "shape": [0]}, "scalar": {"dtype": "F32", "shape": []}}
    write("safetensors", "kinds", {"model.safetensors": {"header": tensors, "fill": 63}})


def gguf():
    paths = [GOLDEN / "formats.gguf", *(CRATES / "part_3_modern/tests/golden/gguf").glob("*.gguf")]
    for path in paths:
        write("gguf_bytes", path.name, path.read_bytes()[: 1 << 15])
    metadata = {
        "general.architecture": "llama", "llama.embedding_length": 4, "llama.block_count": 1,
        "llama.attention.head_count": 2, "llama.attention.head_count_kv": 1,
        "llama.context_length": 8, "llama.feed_forward_length": 4,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0,
    }
    shapes = {
        "token_embd.weight": [8, 4], "output_norm.weight": [4], "output.weight": [8, 4],
        "blk.0.attn_norm.weight": [4], "blk.0.ffn_norm.weight": [4],
        "blk.0.attn_q.weight": [4, 4], "blk.0.attn_k.weight": [2, 4],
        "blk.0.attn_v.weight": [2, 4], "blk.0.attn_output.weight": [4, 4],
        "blk.0.ffn_gate.weight": [4, 4], "blk.0.ffn_up.weight": [4, 4],
        "blk.0.ffn_down.weight": [4, 4],
    }
    tensors = {name: {"dims": dims, "type": 0, "fill": 0} for name, dims in shapes.items()}
    llama = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": ["<unk>", "<s>", "</s>", "▁", "a", "b", "ab", "▁ab"],
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, -1.5, -2.5, -3.5, -0.5, -0.25],
        "tokenizer.ggml.token_type": [2, 3, 3, 1, 1, 1, 1, 1],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.chat_template": "{{ messages[0].content }}",
    }
    write("gguf", "llama", {"metadata": metadata | llama, "tensors": tensors})
    qwen = {key.replace("llama", "qwen3"): value for key, value in metadata.items()}
    qwen |= {
        "general.architecture": "qwen3", "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.tokens": ["a", "b", "ab", "<|im_end|>"],
        "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.token_type": [1, 1, 1, 3],
        "tokenizer.ggml.eos_token_id": 3,
    }
    norms = {f"blk.0.attn_{name}_norm.weight": {"dims": [2], "type": 0} for name in "qk"}
    write("gguf", "qwen3", {"metadata": qwen, "tensors": tensors | norms})
    blocks = {
        f"t{kind}": {"dims": [2, 256], "type": kind} for kind in [0, 1, 2, 3, 8, 12, 14, 30]
    }
    values = {"i": {"type": 11, "value": -1}, "f": {"type": 12, "value": 0.5}, "nested": [[1], [2]]}
    write("gguf", "kinds", {"metadata": values, "tensors": blocks, "alignment": 32})


def pytorch_bin():
    archive = (GOLDEN / "pytorch.bin").read_bytes()
    write("pytorch_bin", "archive", b"\0" + archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        pickle = next(name for name in files.namelist() if name.endswith("/data.pkl"))
        write("pytorch_bin", "pickle", b"\1" + files.read(pickle))
    storage = b"((X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000NK\x10tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n" + storage + b"K\0K\2K\3\x86K\3K\1\x86\x89Nt"
    write("pytorch_bin", "tensor", b"\1\x80\2}q\0(X\1\0\0\0w" + tensor + b"Rq\1X\1\0\0\0vh\1u.")


def parquet():
    for path in (CRATES / "datasets/tests/golden").glob("*.parquet"):
        if path.stem != "large_pages":  # too slow
            write("parquet_bytes", path.stem, path.read_bytes())


def llama2c():
    for kv, vocab in [(2, 16), (1, -16)]:
        header = struct.pack("<7i", 8, 8, 1, 2, kv, vocab, 4)
        write("llama2c", f"header{vocab}", b"\1" + header)
    write("llama2c", "tokens", b"\3" + b"".join(
        struct.pack("<fi", score, len(token)) + token
        for score, token in [(-1.0, b" "), (-2.0, b"a"), (-3.0, b"b"), (-0.5, b"ab"), (-1.5, b" a")]
    ))


def tokenizers():
    added = load(GOLDEN / "added_tokens.json")
    base = added["tokenizer.json"]
    for case in added["cases"]:
        name = case["name"].replace(" ", "_")
        write("tokenizer", name, case["files"] | {"tokenizer.json": base})
    vocab = {token: i for i, token in enumerate(["<unk>", "<s>", "▁", "a", "b", "ab", "##b", "c"])}
    steps = {
        "normalizer": [
            {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
            {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "StripAccents"},
            {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
             "strip_accents": None, "lowercase": True},
        ],
        "pre_tokenizer": [
            {"type": "Whitespace"}, {"type": "Digits", "individual_digits": True},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True},
            {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}| ?\\p{L}+"},
             "behavior": "Isolated", "invert": False},
            {"type": "Punctuation", "behavior": "MergedWithNext"}, {"type": "UnicodeScripts"},
            {"type": "CharDelimiterSplit", "delimiter": "a"}, {"type": "FixedLength", "length": 3},
        ],
        "decoder": [
            {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "WordPiece", "prefix": "##",
             "cleanup": True}, {"type": "BPEDecoder", "suffix": "</w>"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            {"type": "CTC", "pad_token": "<unk>", "word_delimiter_token": "|", "cleanup": True},
            {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        ],
        "post_processor": [
            {"type": "TemplateProcessing", "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}], "pair": [
                {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
             "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
            {"type": "RobertaProcessing", "sep": ["<s>", 1], "cls": ["<s>", 1],
             "trim_offsets": True, "add_prefix_space": True},
            {"type": "BertProcessing", "sep": ["<s>", 1], "cls": ["<s>", 1]},
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
             "use_regex": True},
        ],
    }
    models = {
        "bpe": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"]], "unk_token": "<unk>",
                "fuse_unk": True, "byte_fallback": True, "ignore_merges": True, "dropout": None,
                "continuing_subword_prefix": None, "end_of_word_suffix": None},
        "word_level": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
        "word_piece": {"type": "WordPiece", "vocab": vocab, "unk_token": "<unk>",
                       "continuing_subword_prefix": "##", "max_input_chars_per_word": 9},
        "unigram": {"type": "Unigram", "unk_id": 0, "byte_fallback": True,
                    "vocab": [[token, -float(i)] for token, i in vocab.items()]},
    }
    token = {"id": 8, "content": "<|im_end|>", "special": True, "single_word": False,
             "lstrip": True, "rstrip": True, "normalized": False}
    for name, model in models.items():
        plain = {"version": "1.0", "added_tokens": [token], "model": model}
        write("tokenizer", name, {"tokenizer.json": plain, "text": "a ab c <|im_end|> b"})
        for part, choices in steps.items():
            for i, step in enumerate(choices):
                write("tokenizer", f"{name}-{part}-{i}", {"tokenizer.json": plain | {part: step}})


def chats():
    golden = load(GOLDEN / "chats.json")
    arguments = {"enable_thinking": False, "tools": [{"type": "function", "function": {
        "name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}]}
    parts = [{"role": "user", "content": [{"type": "text", "text": "Hi <|im_end|>"}]},
             {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "add"}}]}]
    for template in golden["templates"]:
        for i, messages in enumerate([*golden["chats"], parts]):
            write("chat_template", f"{template['name'].replace(' ', '_')}-{i}", {
                "chat_template": template["source"], "messages": messages, "arguments": arguments,
                "date": "2026-07-31"})
    sources = [
        "{{ messages | tojson(indent=2) }}", "{% set ns = namespace(a='x') %}{% for m in messages "
        "%}{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a }}", "{{ strftime_now('%d %b %Y') }}",
        "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(messages[0].content) }}",
        "{{ messages[0].content.split('a') | join('b') | replace('c', 'dd') }}",
        "{% generation %}{{ '%s' | format('a') }}{% endgeneration %}{{ raise_exception('no') }}",
    ]
    for i, source in enumerate(sources):
        write("chat_template", f"source-{i}", {
            "chat_template": source, "messages": golden["chats"][0], "arguments": {}})


def rows():
    user, assistant = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    turns = "\n\nHuman: a\n\nAssistant: "
    layouts = {
        "openai": {"messages": [{"role": "system", "content": "s"}, user, assistant]},
        "sharegpt": {"conversations": [{"from": "human", "value": "a"},
                                       {"from": "gpt", "value": "b"}]},
        "alpaca": {"instruction": "a", "input": "i", "output": "b", "text": "t"},
        "dolly": {"instruction": "a", "context": None, "response": "b", "category": "c"},
        "trl": {"prompt": "a", "completion": "b"},
        "trl_messages": {"prompt": [user], "completion": [assistant]},
        "gsm8k": {"question": "1 + 1?", "answer": "1 + 1 = 2\n#### 2"},
        "number": {"question": "1 + 1?", "answer": 2.5},
        "text": {"text": "once"},
        "pair": {"prompt": "a", "chosen": "b", "rejected": "c"},
        "hh": {"chosen": turns + "b", "rejected": turns + "c"},
        "hh_prompt": {"prompt": turns, "chosen": " b", "rejected": " c"},
        "pair_messages": {"prompt": "a", "chosen": [user, assistant],
                          "rejected": [user, {"role": "assistant", "content": "c"}]},
        "skipped": {"prompt": [user], "skipped": ["b", "c"]},
        "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]},
                               assistant, user]},
    }
    for name, row in layouts.items():
        write("rows", name, {"rows": [row, row], "columns": "prompt=prompt,completion=completion"})
        write("rows_bytes", name, "".join(json.dumps(row) + "\n" for _ in range(2)).encode())
        write("rows_bytes", f"{name}-array", json.dumps([row, row], indent=1).encode())
        write("rows_bytes", f"{name}-data", json.dumps({"n": 1, "data": [row]}).encode())
    for columns in ["messages=m", "text=t", "instruction=a,input=none,output=b", "chosen=c"]:
        write("rows", columns, {"rows": [layouts["pair"]], "columns": columns})
    write("rows_bytes", "documents", "\ufeffone two  \n<|endoftext|>\n three\u3000".encode())
    texts = ["so it is $1,234.50.\n#### 72", "<answer>(5 * 3) + 7</answer>", "-3 1e-3 ½ x_{2} 4^2",
             "3 5 7 = 22\n(5 * 3) + 7", "10:30 is 3/4 of 12km", "１２ and −5 or 1e999"]
    for i, text in enumerate(texts):
        write("answers", str(i), text.encode())


def settings():
    for path in (FUZZ.parent / "configs").glob("*.yaml"):
        write("settings", path.name, {
            "args": ["train", "--config", "FOLDER/settings.yaml"],
            "settings.yaml": path.read_text()})
    lines = ["data: arithmetic", "lora_rank: 4", "seed: 7", "columns: text=a", "validation: 0.2",
             "tracker: none", "patience: ~", "save_interval: 0x10", "weight_decay: 1e-3"]
    for i, line in enumerate(lines):
        write("settings", f"line-{i}", {
            "args": ["train", "--config", "FOLDER/settings.yaml", "--set", line.replace(": ", "="),
                     "--beta2", "0.9", "--out", "FOLDER"], "settings.yaml": line + "\n"})
    run = {"seed": 3, "lora_rank": 8, "steps": 5, "model": None, "data": "a.jsonl"}
    write("settings", "resume", {"args": ["train", "--resume", "--out", "FOLDER"],
                                 "config.json": run, "metrics.jsonl": ""})
    write("settings", "eval", {"args": ["eval", "--model", "FOLDER"],
                               "config.json": run | {"columns": "text=a"}, "metrics.jsonl": ""})


def checkpoints():
    shapes = {"layer.weight": [3, 2], "layer.bias": [3]}
    weights = {name: {"dtype": "F32", "shape": shape} for name, shape in shapes.items()}
    moments = {}
    for name, shape in shapes.items():
        moments[f"{name}.updates"] = {"dtype": "U32", "shape": []}
        moments[f"{name}.first"] = {"dtype": "F32", "shape": shape}
        moments[f"{name}.second"] = {"dtype": "F32", "shape": shape}
    score = {"step": 5, "score": {"loss": 1.5}}
    progress = {"step": 5, "target_reached": False, "selection": {
        "initial": {"loss": 2.5}, "best": score, "last": score, "n_not_better": 0}}
    files = {
        "state.json": {"state": progress, "dropout_rng": None, "data": "data", "frozen": None},
        "model.safetensors": {"header": weights}, "optimizer.safetensors": {"header": moments},
        "log.json": {"n_tokens": 3, "recent_losses": [1.5], "raised_alarms": []},
    }
    for kind in [{"accuracy": {"accuracy": 0.5, "loss": 1.0}}, {"reward": 0.25}]:
        text = json.dumps(files).replace('{"loss": 1.5}', json.dumps(kind))
        write("checkpoint", list(kind)[0], {"checkpoint": json.loads(text)})
    write("checkpoint", "loss", {
        "checkpoint": files, "config.json": {"steps": 9},
        "metrics.jsonl": '{"step":1,"loss":2.5}\n{"step":5,"loss":1.5}\n{"step":9'})


def adapters():
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "base", "r": 2,
        "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": ["q_proj", "mlp.up_proj"],
        "bias": "none", "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True,
    }
    prefix, width = "base_model.model.model.layers.", 48
    shapes = {f"{i}.self_attn.q_proj": (16, 16) for i in range(2)}
    shapes |= {f"{i}.mlp.up_proj": (width, 16) for i in range(2)}
    tensors = {}
    for name, (n_out, n_in) in shapes.items():
        tensors[f"{prefix}{name}.lora_A.weight"] = {"dtype": "F32", "shape": [2, n_in]}
        tensors[f"{prefix}{name}.lora_B.weight"] = {"dtype": "F32", "shape": [n_out, 2]}
    weights = {"header": tensors, "fill": 60}
    write("adapter", "lora", {"adapter_config.json": config, "adapter_model.safetensors": weights})
    all_linear = config | {"target_modules": "all-linear", "init_lora_weights": "gaussian"}
    write("adapter", "all", {"adapter_config.json": all_linear,
                             "adapter_model.safetensors": weights})
    for path in (CRATES / "part_6_sft/tests").rglob("adapter_config.json"):
        files = {"adapter_config.json": load(path)}
        for weights in path.parent.glob("adapter_model.safetensors"):
            files["adapter_model.safetensors"] = described(weights)
        write("adapter", path.parent.name, files)


if __name__ == "__main__":
    for build in [model_folders, gguf, pytorch_bin, parquet, llama2c, tokenizers, chats, rows,
                  settings, checkpoints, adapters]:
        build()
