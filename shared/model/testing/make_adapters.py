"""Makes the adapters of shared/model/golden/adapters with PEFT: small ones on the golden models, one for each way in which an adapter's config can
choose modules, ranks and alphas. Beside each lies what PEFT makes of the folder when it reads it back:

    expected.json: {"model": golden model, "loss": nats per scored token, "modules": {path: [rank, scale]}, "versions": {...}}

and, for all of them, patterns.json: whether Python's `re` matches a path with a pattern, wholly: [[pattern, path, matches], ...].

Usage: python3 shared/model/testing/make_adapters.py (from the root of the repository; takes no argument, replaces the folder's files)
"""
import json
import os
import re

import peft
import torch
import transformers
from peft import LoraConfig, PeftConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden")
OUT = os.path.join(GOLDEN, "adapters")

GPT2 = ["c_attn", "c_proj", "c_fc"]
LLAMA = ["q_proj", "v_proj", "down_proj"]

# name: (golden model, arguments of LoraConfig, changes made to the saved adapter_config.json)
# PEFT sorts keys when it saves, and the first that matches counts when it reads: so the keys here are sorted.
CASES = {
    "gpt2-patterns": (
        "gpt2",
        dict(
            target_modules=GPT2,
            rank_pattern={"0.attn.c_attn": 2, r"[23]\.attn\.c_attn": 6, "c_attn": 3, "mlp.c_proj": 8},
            alpha_pattern={"1.mlp.c_proj": 20, r"\d+\.mlp\.c_proj": 5, "c_fc": 3},
        ),
        {},
    ),
    "gpt2-rslora-patterns": (
        "gpt2",
        dict(target_modules=["c_attn"], use_rslora=True, rank_pattern={"0.attn.c_attn": 9, "c_attn": 2}, alpha_pattern={"h.3.*": 1}),
        {},
    ),
    "gpt2-regex": ("gpt2", dict(target_modules=r"transformer\.h\.(?:0|[2-3])\.(attn|mlp)\.c_(?!fc).*"), {}),
    # A target that is a whole path stands on its layer, whatever layers_to_transform says.
    "gpt2-layers": ("gpt2", dict(target_modules=["c_attn", "transformer.h.0.mlp.c_fc"], layers_to_transform=[1, 3]), {}),
    # PEFT itself saves the names that it found; it reads the word too.
    "gpt2-all-linear": ("gpt2", dict(target_modules="all-linear"), dict(target_modules="all-linear")),
    "gpt2-exclude": ("gpt2", dict(target_modules=GPT2, exclude_modules=r".*\.(0|3)\.mlp\..*"), {}),
    "llama-patterns": (
        "llama-gqa",
        dict(target_modules=LLAMA, rank_pattern={r"layers\.(0|2)\..*_proj": 2, "q_proj": 7}, alpha_pattern={"v_proj": 32}),
        {},
    ),
    "llama-rslora-patterns": (
        "llama-gqa",
        dict(target_modules=LLAMA, use_rslora=True, rank_pattern={"down_proj": 1}, alpha_pattern={"model.layers.1.self_attn.q_proj": 2}),
        {},
    ),
    "llama-regex": ("llama-gqa", dict(target_modules=r"^(?!.*\.2\.).*(?:self_attn\.(?:q|o)_proj|gate_proj)$"), {}),
    "llama-layers": ("llama-gqa", dict(target_modules=LLAMA, layers_to_transform=[0, 2], layers_pattern="layers"), {}),
    "llama-one-layer": ("llama-gqa", dict(target_modules=["q_proj"], layers_to_transform=1), {}),
    "llama-all-linear": ("llama-gqa", dict(target_modules="all-linear"), dict(target_modules="all-linear")),
    "llama-exclude": ("llama-gqa", dict(target_modules=["q_proj", "v_proj"], exclude_modules=["layers.0.self_attn.q_proj", "v_proj"]), {}),
}

PATTERNS = [
    "c_attn", ".*c_attn", r".*\.c_attn", "transformer.h.0.attn.c_attn", r"transformer\.h\.0\.attn\.c_attn", r".*\.h\.(0|1)\..*",
    r".*\.[0-2]\..*proj", r".*\.[^0-2]\..*proj", r".*\.\d+\.(?:self_attn|mlp)\.\w+", r"\S+", r"\D*\d\D*", "(?!.*mlp).*", ".*(?=c_).*c_fc",
    "(?P<head>.*)c_(fc|attn)$", "^model.*", r"\Amodel.*\Z", ".*o{1}j", "a{", ".*[]q]_proj", ".*[^]v]_proj", r".*[\w.]{3,}_proj", "(a|b|)*",
    "(.*?)(q|k)_pro?j", ".*_(proj)+?", r".*\bmlp\b.*", r".*\Bmlp.*", ".*[.]mlp[.].*", "", ".*|x", "()", r".*\.mlp\.(down|up)_proj",
    r"model\.layers\.(?:[02]|1)\.self_attn\.[qkvo]_proj", ".{27}", ".{2,30}", ".{,26}", ".{30,}", r"[a-z\.\d_]*", r".*[\-_]proj", r"transformer\x2eh.*",
    r"\u006dodel.*", "(?:(?:(?:m|o)|d)|e)*l.*", "(h|transformer|[.]|0)+[a-z._]+", ".*(?:|x)c_attn",
]
PATHS = [
    "transformer.h.0.attn.c_attn", "transformer.h.3.mlp.c_fc", "transformer.h.1.mlp.c_proj", "model.layers.0.self_attn.q_proj",
    "model.layers.2.self_attn.v_proj", "model.layers.10.mlp.down_proj", "a{", "c_attn",
]


def rows_of(model):
    tensors = load_file(os.path.join(GOLDEN, model, "golden.safetensors"))
    return {name: tensors[name].long() for name in ("input_ids", "attention_mask", "labels")}


def base_of(model):
    folder = os.path.join(GOLDEN, model, "model")
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def make(name, model, arguments, changes):
    folder = os.path.join(OUT, name)
    torch.manual_seed(sum(map(ord, name)))
    fan = dict(fan_in_fan_out=True) if model.startswith("gpt2") else {}
    adapted = get_peft_model(base_of(model), LoraConfig(r=4, lora_alpha=8, task_type="CAUSAL_LM", **fan, **arguments))
    for key, weight in adapted.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    file = os.path.join(folder, "adapter_config.json")
    with open(file, encoding="utf-8") as stream:
        config = {**json.load(stream), "base_model_name_or_path": None, **changes}
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(config, stream, indent=2, sort_keys=False)

    # What counts is what PEFT makes of the files.
    read = get_peft_model(base_of(model), PeftConfig.from_pretrained(folder)).eval()
    result = set_peft_model_state_dict(read, load_peft_weights(folder, device="cpu"))
    assert not result.unexpected_keys and not [key for key in result.missing_keys if "lora_" in key], name
    with torch.no_grad():
        loss = read(**rows_of(model)).loss.item()
    modules = {
        path.removeprefix("base_model.model."): [module.r["default"], module.scaling["default"]]
        for path, module in read.named_modules()
        if hasattr(module, "lora_A")
    }
    versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as stream:
        json.dump({"model": model, "loss": loss, "modules": modules, "versions": versions}, stream, indent=1)
    print(name, loss, len(modules))


def main():
    torch.set_num_threads(1)
    for name, (model, arguments, changes) in CASES.items():
        make(name, model, arguments, changes)
    table = [[pattern, path, re.fullmatch(pattern, path) is not None] for pattern in PATTERNS for path in PATHS]
    with open(os.path.join(OUT, "patterns.json"), "w", encoding="utf-8") as stream:
        json.dump(table, stream, indent=0)


if __name__ == "__main__":
    main()
