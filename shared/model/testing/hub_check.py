"""Asks Hugging Face's own packages about the cache: fills it from a hub, or reads what is in it without one.

usage: hub_check.py fill|read MODEL_ID. Prints JSON. Exit status 77: the packages are not installed.
"""
import json
import sys
from pathlib import Path

try:
    from huggingface_hub import hf_hub_download, snapshot_download
    from transformers import AutoConfig, AutoModelForCausalLM
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)

what, model_id = sys.argv[1:]
if what == "fill":
    folder = snapshot_download(model_id)
else:
    folder = str(Path(hf_hub_download(model_id, "model.safetensors", local_files_only=True)).parent)
config = AutoConfig.from_pretrained(model_id, local_files_only=True)
model = AutoModelForCausalLM.from_pretrained(model_id, local_files_only=True)
print(json.dumps({"folder": folder, "layers": config.num_hidden_layers, "parameters": model.num_parameters()}))
