"""Compares a model folder's losses with those that PyTorch computes (`pip install torch transformers`):

    node dist/experiments/pretrain/measure.js datasets/model > measured.jsonl
    python3 experiments/pretrain/check_transformers.py datasets/model measured.jsonl

Loads the folder with transformers, computes the loss of each measured window in float32, and tokenises the speeches. Exits with 1 if a
window's loss differs by more than 1e-3 nats per token, or a speech has other ids.
"""

import argparse
import json

import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

TOLERANCE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("measured", help="what measure.js printed")
    arguments = parser.parse_args()
    with open(arguments.measured, encoding="utf-8") as lines:
        *records, means = [json.loads(line) for line in lines]
    speeches = [record for record in records if "text" in record]
    windows = [record for record in records if "nll" in record]

    model, report = GPT2LMHeadModel.from_pretrained(arguments.folder, dtype=torch.float32, output_loading_info=True)
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    worst, nll, tokens = 0.0, 0.0, 0
    for window in windows:
        ids = torch.tensor([window["ids"]])
        with torch.no_grad():
            loss = model(ids, labels=ids).loss.item()
        scored = ids.shape[1] - 1
        worst = max(worst, abs(loss - window["nll"] / scored))
        nll += loss * scored
        tokens += scored
    other_ids = sum(tokenizer(speech["text"])["input_ids"] != speech["ids"] for speech in speeches)
    result = {
        "windows": len(windows),
        "tokens": tokens,
        "loss_torch": nll / tokens,
        "loss_cutlayer": means["loss"],
        "largest_difference_of_a_window": worst,
        "missing_keys": sorted(report["missing_keys"]),
        "unexpected_keys": sorted(report["unexpected_keys"]),
        "speeches": len(speeches),
        "speeches_with_other_ids": other_ids,
        "eos_token_id": tokenizer.eos_token_id,
    }
    print(json.dumps(result, indent=2))
    sound = worst <= TOLERANCE and other_ids == 0 and not result["missing_keys"] and not result["unexpected_keys"]
    raise SystemExit(0 if sound else 1)


if __name__ == "__main__":
    main()
