"""Compares merged models with their bases and adapters in PEFT, and prints what transformers makes of both, as one JSON line for each:

    {"difference": largest of all logits, "size": largest logit, "dtype": of the loaded weights, "missing": keys that do not fit}

Usage: python3 merged_check.py (MODEL_FOLDER ADAPTER_FOLDER MERGED_FOLDER IDS.json)... (a list of rows of equal length)
Exit status: 77 if torch, transformers or peft is not installed.
"""
import json
import sys

try:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as error:
    print(f"not installed here: {error}", file=sys.stderr)
    sys.exit(77)


def logits_of(model, ids):
    with torch.no_grad():
        return model.eval()(ids).logits.double()


def check(model_folder, adapter_folder, merged_folder, ids_file):
    with open(ids_file, encoding="utf-8") as file:
        ids = torch.tensor(json.load(file))
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, local_files_only=True)
    theirs = logits_of(PeftModel.from_pretrained(base, adapter_folder), ids)
    merged, report = AutoModelForCausalLM.from_pretrained(merged_folder, local_files_only=True, output_loading_info=True)
    dtype = str(next(merged.parameters()).dtype)
    ours = logits_of(merged.float(), ids)
    AutoTokenizer.from_pretrained(merged_folder, local_files_only=True)
    missing = sorted(report["missing_keys"]) + sorted(report["unexpected_keys"])
    print(json.dumps({"difference": (ours - theirs).abs().max().item(), "size": theirs.abs().max().item(), "dtype": dtype, "missing": missing}))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if not arguments or len(arguments) % 4 != 0:
        sys.exit(__doc__)
    torch.set_num_threads(1)
    for first in range(0, len(arguments), 4):
        check(*arguments[first : first + 4])
