"""Loads an adapter folder in PEFT on its base model, and prints what PEFT and PyTorch make of it, as one JSON line:

    {"missing": [...], "unexpected": [...], "loss": nats per scored token, "tokens": scored tokens, "versions": {...}}

Usage: python3 peft_check.py MODEL_FOLDER ADAPTER_FOLDER ROWS.json
ROWS.json: {"input_ids": [[...]], "attention_mask": [[...]], "labels": [[...]]}, labels -100 where nothing is scored, not shifted.
Exit status: 0 if no key is missing or unexpected, 1 if one is, 77 if torch, transformers or peft is not installed.
"""
import json
import sys

try:
    import peft
    import torch
    import transformers
    from peft import PeftConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
except ImportError as error:
    print(f"not installed here: {error}", file=sys.stderr)
    sys.exit(77)


def main(model_folder, adapter_folder, rows_file):
    torch.set_num_threads(1)
    base = transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32, local_files_only=True)
    config = PeftConfig.from_pretrained(adapter_folder)
    model = get_peft_model(base, config).eval()
    # PEFT's own loader warns of missing keys and passes over unexpected ones; here both are told.
    result = set_peft_model_state_dict(model, load_peft_weights(adapter_folder, device="cpu"))
    missing = sorted(key for key in result.missing_keys if "lora_" in key)
    unexpected = sorted(result.unexpected_keys)
    with open(rows_file, encoding="utf-8") as file:
        rows = {name: torch.tensor(values) for name, values in json.load(file).items()}
    with torch.no_grad():
        loss = model(**rows).loss.item()
    versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
    tokens = int((rows["labels"][:, 1:] != -100).sum())
    print(json.dumps({"missing": missing, "unexpected": unexpected, "loss": loss, "tokens": tokens, "versions": versions}))
    return 1 if missing or unexpected else 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
