"""The peer of `cutlayer bench step`: one LoRA training step in PyTorch with transformers and PEFT.

  python torch_step.py [--model gpt2|gpt2-medium|smollm2-135m|FOLDER] [--batch 4] [--seq 128] [--scored 1] [--dtype fp32|bf16]
                       [--targets c_attn,c_proj] [--rank 8] [--threads 2] [--steps 7]

A step is forward, loss, backward and AdamW on the adapter; without dropout, and with random weights where the model is named by its
shape. The first two steps are not counted. Prints one JSON line: median_ms, min_ms, tokens_per_s, rss_mb (largest resident memory), and with
--memory private_mb: the peak of Private_Clean + Private_Dirty that Linux counts (proc_pid_smaps(5)), sampled from a thread, which costs time.

Needs: pip install torch transformers peft
"""

import argparse
import json
import resource
import statistics
import threading
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

WARM_UP_STEPS = 2
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def shape_called(name):
    """The configuration of a shape, or None if that is no shape's name."""
    if name == "gpt2":
        return GPT2Config()
    if name == "gpt2-medium":
        return GPT2Config(n_embd=1024, n_layer=24, n_head=16)
    if name == "smollm2-135m":
        return LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        )
    return None


def adapted(options):
    dtype = DTYPES[options.dtype]
    config = shape_called(options.model)
    if config is None:
        base = AutoModelForCausalLM.from_pretrained(options.model, dtype=dtype)
    else:
        base = AutoModelForCausalLM.from_config(config, dtype=dtype)
    is_gpt2 = base.config.model_type == "gpt2"
    defaults = ["c_attn"] if is_gpt2 else ["q_proj", "v_proj"]
    lora = LoraConfig(
        r=options.rank,
        lora_alpha=2 * options.rank,
        lora_dropout=0.0,
        target_modules=options.targets.split(",") if options.targets else defaults,
        task_type="CAUSAL_LM",
        fan_in_fan_out=is_gpt2,
    )
    model = get_peft_model(base, lora).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


class PrivateMemory:
    """Samples the private memory of this process until it is told to stop."""

    SAMPLE_SECONDS = 0.02

    def __init__(self):
        self.peak_bytes = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.done.wait(self.SAMPLE_SECONDS):
            self.peak_bytes = max(self.peak_bytes, self.now())

    @staticmethod
    def now():
        with open("/proc/self/smaps_rollup") as rollup:
            lines = [line.split() for line in rollup]
        return sum(1024 * int(line[1]) for line in lines if line[0] in ("Private_Clean:", "Private_Dirty:"))

    def stop(self):
        self.done.set()
        self.thread.join()
        return self.peak_bytes


def main():
    parser = argparse.ArgumentParser(description="one LoRA training step, timed")
    parser.add_argument("--model", default="gpt2")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq", type=int, default=128)
    parser.add_argument("--scored", type=float, default=1.0, help="share of positions that carry a label: the last ones")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="fp32")
    parser.add_argument("--targets", default="", help="module names with commas between them")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--memory", action="store_true", help="sample private memory (Linux)")
    options = parser.parse_args()

    memory = PrivateMemory() if options.memory else None
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = adapted(options)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)
    ids = torch.randint(0, model.config.vocab_size, (options.batch, options.seq))
    labels = ids.clone()
    labels[:, : round(options.seq * (1 - options.scored))] = -100

    seconds = []
    for _ in range(WARM_UP_STEPS + options.steps):
        start = time.perf_counter()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    private = {"private_mb": round(memory.stop() / 1e6, 1)} if memory else {}
    seconds = seconds[WARM_UP_STEPS:]
    median = statistics.median(seconds)
    print(
        json.dumps(
            {
                "engine": "torch, transformers, peft",
                "torch": torch.__version__,
                **vars(options),
                "median_ms": round(1000 * median, 1),
                "min_ms": round(1000 * min(seconds), 1),
                "tokens_per_s": round(options.batch * options.seq / median, 1),
                "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000),
                **private,
            }
        )
    )


main()
