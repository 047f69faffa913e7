"""The peer of `cutlayer bench round`: federated LoRA in Flower's simulation, with transformers and PEFT.

  python flower.py [--clients 4] [--local-steps 10] [--batch 4] [--seq 256] [--rounds 4] [--rank 8]
                   [--layers 6] [--width 256] [--heads 4] [--vocabulary 4096] [--threads N] [--actors N]

Every client holds the whole model (a GPT-2 of random weights), makes its local steps with AdamW on random tokens, and sends its
adapter, which FedAvg averages; nothing is evaluated. Clients are Ray actors, by default one for each core with one thread each, or
fewer actors with --actors and more threads with --threads. The model is made once in each actor and kept there, which is kinder to
Flower than its examples, where every round makes it anew. Prints one JSON line: first_s and median_s (of the other rounds).

Needs: pip install "flwr[simulation]==1.41.0" torch transformers peft
"""

import argparse
import json
import logging
import os
import statistics
import time

parser = argparse.ArgumentParser(description="a federated LoRA round in Flower's simulation")
parser.add_argument("--clients", type=int, default=4)
parser.add_argument("--local-steps", type=int, default=10)
parser.add_argument("--batch", type=int, default=4)
parser.add_argument("--seq", type=int, default=256)
parser.add_argument("--rounds", type=int, default=4)
parser.add_argument("--rank", type=int, default=8)
parser.add_argument("--layers", type=int, default=6)
parser.add_argument("--width", type=int, default=256)
parser.add_argument("--heads", type=int, default=4)
parser.add_argument("--vocabulary", type=int, default=4096)
parser.add_argument("--actors", type=int, default=os.cpu_count())
parser.add_argument("--threads", type=int, default=None)
options = vars(parser.parse_args())
threads = options["threads"] or max(1, os.cpu_count() // options["actors"])

os.environ.setdefault("RAY_DEDUP_LOGS", "1")
# Nothing is reported to anyone: without a network, the process would wait for that at its end.
os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
import flwr
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

logging.getLogger("flwr").setLevel(logging.ERROR)


def adapted_model(settings):
    """GPT-2 of this size with LoRA on c_attn, without the dropouts of its base."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=settings["vocabulary"],
        n_positions=max(1024, settings["seq"]),
        n_embd=settings["width"],
        n_layer=settings["layers"],
        n_head=settings["heads"],
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    rank = settings["rank"]
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=["c_attn"], task_type="CAUSAL_LM", fan_in_fan_out=True)
    return get_peft_model(GPT2LMHeadModel(config), lora).train()


def adapter_of(model):
    from peft import get_peft_model_state_dict

    return ArrayRecord(get_peft_model_state_dict(model))


client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    import builtins

    import torch
    from peft import set_peft_model_state_dict

    settings = dict(message.content["config"])
    torch.set_num_threads(settings["threads"])
    # An actor serves one client after the other; this module may be unpickled for each, so the model is kept where that does not reach.
    model = getattr(builtins, "bench_model", None)
    if model is None:
        model = builtins.bench_model = adapted_model(settings)
    set_peft_model_state_dict(model, message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-4)
    for _ in range(settings["local-steps"]):
        ids = torch.randint(0, settings["vocabulary"], (settings["batch"], settings["seq"]))
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    metrics = MetricRecord({"train_loss": loss.item(), "num-examples": settings["batch"] * settings["local-steps"]})
    return Message(content=RecordDict({"arrays": adapter_of(model), "metrics": metrics}), reply_to=message)


server_app = ServerApp()
ends = []


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    from flwr.app import ConfigRecord

    clients = options["clients"]
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=clients, min_evaluate_nodes=0, min_available_nodes=clients)
    settings = {key: value for key, value in options.items() if value is not None and key != "threads"}
    ends.append(time.perf_counter())
    strategy.start(
        grid=grid,
        initial_arrays=adapter_of(adapted_model(settings)),
        num_rounds=options["rounds"],
        train_config=ConfigRecord({**{key.replace("_", "-"): value for key, value in settings.items()}, "threads": threads}),
        # Called before the first round and after each: what is between two calls is a round.
        evaluate_fn=lambda server_round, arrays: ends.append(time.perf_counter()),
    )


if __name__ == "__main__":
    actors = options["actors"]
    run_simulation(
        server_app=server_app,
        client_app=client_app,
        num_supernodes=options["clients"],
        backend_config={"client_resources": {"num_cpus": max(1, os.cpu_count() // actors), "num_gpus": 0.0}},
    )
    seconds = [after - before for before, after in zip(ends[1:], ends[2:])]
    import torch

    print(
        json.dumps(
            {
                "engine": f"flower {flwr.__version__}",
                "torch": torch.__version__,
                **options,
                "threads": threads,
                "first_s": round(seconds[0], 3),
                "median_s": round(statistics.median(seconds[1:]), 3),
                "seconds": [round(value, 3) for value in seconds],
            }
        )
    )
