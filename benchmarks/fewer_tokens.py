"""What a student would win by dropping tokens on the way, or by answering before its last layer:
`EDGELM_DATA=FOLDER python benchmarks/fewer_tokens.py STUDENT --teacher TEACHER --set NAME [--epochs 1] [--rate 3e-4]`.

Every way goes on from the student, a compressed BERT that classifies, and is taught by the teacher's logits for so many
epochs; so are the student as it is and its first layers alone. Tokens: after the layers given, each two neighbours
become their mean (Funnel-Transformer, Dai et al. 2020; what the stage `halve` does), or as many stay as others attended
to most (PoWER-BERT, Goyal et al. 2020), as the first token attended to most, or as were attended to most on average
over the training rows; the first always stays. Exits: each layer of the later half has a head, all taught together
(DeeBERT, Xin et al. 2020); a text leaves where the most likely label has a probability above a threshold, the lowest
that costs no accuracy on dev. Embeddings stay as they are.

Times are composed, not measured as a whole: what a layer of these sizes takes at its number of tokens is read from
tables that `edgelm latency-table` measures here, for the median text of the set.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import print_machine
from teachers import load_rows
from torch import nn

from edgelm.anatomy import layer_shapes, load_checkpoint, load_tokenizer
from edgelm.anatomy.halving import halve, left_tokens
from edgelm.anatomy.sizes import sizes_of
from edgelm.checkpoint import open_checkpoint
from edgelm.latency_table import LatencyTable
from edgelm.profile.block_latency import measure_table
from edgelm.runtime.session import available_cores
from edgelm.shapes import ModelSizes, Shapes

WAYS = {  # shares of the text's tokens that are left after so many layers
    "half after layer 2": {2: 0.5},
    "3/4 after 1, half after 3": {1: 0.75, 3: 0.5},
    "half after layer 1": {1: 0.5},
    "half after 1, a quarter after 3": {1: 0.5, 3: 0.25},
}
CHOICES = ("means", "attention", "attention of the first", "attention on average")


class Tables:
    """Times of layers by how many tokens they see."""

    def __init__(self, sizes: ModelSizes, median: int) -> None:
        self.sizes, self.median = sizes, median
        self.kept: dict[int, LatencyTable] = {}

    def table(self, tokens: int) -> LatencyTable:
        """Measured where it is asked for first."""
        if tokens not in self.kept:
            self.kept[tokens] = measure_table(self.sizes, precision="int8", sequence=tokens, threads=available_cores())
        return self.kept[tokens]

    def time(self, shapes: Shapes, keep: dict[int, float]) -> float:
        """Milliseconds of a text of the median length, some of whose tokens go after the layers that `keep` names."""
        total, tokens = self.table(self.median).rest, self.median
        for number, shape in enumerate(shapes, 1):
            total += self.table(tokens).shape_cost(shape)
            if number in keep:
                tokens = max(2, math.ceil(self.median * keep[number]))
        return total


@dataclass
class Batch:
    """Rows of one length class: ids, mask and labels as tensors; what the teacher gives."""

    ids: torch.Tensor
    mask: torch.Tensor
    labels: torch.Tensor
    wanted: torch.Tensor


class Student(nn.Module):
    """A BERT whose later layers may see fewer tokens, with a head after each layer that `exits` names.

    `choice`: one of `CHOICES`, by which tokens go; `average`: for the last of them, what each token of the vocabulary
    gets of attention.
    """

    def __init__(
        self, model: Any, keep: dict[int, float], exits: Sequence[int], choice: str = "", average: Any = None
    ) -> None:
        super().__init__()
        self.model, self.keep, self.exits, self.choice, self.average = model, keep, list(exits), choice, average
        parts = (model.bert.pooler, model.dropout, model.classifier)
        self.heads = nn.ModuleList(copy.deepcopy(nn.Sequential(*parts)) for _ in self.exits[:-1])

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
        """Logits (rows, labels) of each exit, the last layer's last."""
        hidden = self.model.bert.embeddings(ids)
        lengths, found = mask.sum(1), []
        for number, layer in enumerate(self.model.bert.encoder.layer, 1):
            bias = (1.0 - mask[:, None, None, :].to(hidden.dtype)) * -1e9
            attended = layer.attention.self(hidden, attention_mask=bias)
            probabilities = attended[1]
            states = layer.attention.output(attended[0], hidden)
            hidden = layer.output(layer.intermediate(states), states)
            if number in self.exits[:-1]:
                found.append(self.heads[self.exits.index(number)](hidden))
            if number not in self.keep:
                continue
            if self.choice == "means":
                hidden, mask = halve(hidden, mask), left_tokens(mask).long()
                continue
            seen = probabilities.detach()
            wanted = (
                self.average[ids]
                if self.choice == "attention on average"
                else seen[:, :, 0].sum(1)
                if self.choice == "attention of the first"
                else attended_to(seen, mask)
            )
            mask = _most(wanted, mask, torch.ceil(lengths * self.keep[number]).long())
        pooled = self.model.dropout(self.model.bert.pooler(hidden))
        return [*found, self.model.classifier(pooled)]


def attended_to(probabilities: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What each token gets of all others' attention: (rows, heads, queries, keys) -> (rows, keys)."""
    return (probabilities * mask[:, None, :, None]).sum((1, 2))


def average_attention(model: Any, batches: list[Batch]) -> torch.Tensor:
    """(vocabulary,) what each token gets in the first layer, on average over these rows."""
    total = torch.zeros(model.config.vocab_size)
    count = torch.zeros_like(total)
    with torch.inference_mode():
        for batch in batches:
            bias = (1.0 - batch.mask[:, None, None, :].float()) * -1e9
            states = model.bert.embeddings(batch.ids)
            probabilities = model.bert.encoder.layer[0].attention.self(states, attention_mask=bias)[1]
            real = batch.mask > 0
            got = attended_to(probabilities, batch.mask)[real]
            total.index_add_(0, batch.ids[real], got)
            count.index_add_(0, batch.ids[real], torch.ones_like(got))
    return (total / count.clamp(min=1)).clone()


def _most(got: torch.Tensor, mask: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """The mask of the first token and of so many tokens of each row as have most: (rows, tokens)."""
    got = got.masked_fill(mask == 0, -1.0)
    got[:, 0] = math.inf
    ranks = got.argsort(1, descending=True).argsort(1)
    return mask * (ranks < counts[:, None])


def make_batches(rows: Any, source: Any, teacher: Any, size: int) -> list[Batch]:
    """Rows by length, with the teacher's logits."""
    tokenizer, task = source
    labels = np.asarray(rows.for_task(task).labels)
    encoded = tokenizer(list(rows.texts), truncation=True, max_length=64)["input_ids"]
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
    made = []
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        padded = tokenizer.pad({"input_ids": [encoded[row] for row in chosen]}, return_tensors="pt")
        with torch.inference_mode():
            wanted = teacher(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits
        made.append(Batch(padded["input_ids"], padded["attention_mask"], torch.tensor(labels[chosen]), wanted.clone()))
    return made


def teach(student: Student, batches: list[Batch], epochs: int, rate: float) -> None:
    """Kullback-Leibler divergence to the teacher's logits of every exit, summed."""
    optimizer = torch.optim.AdamW([each for each in student.parameters() if each.requires_grad], lr=rate)
    total = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=total, pct_start=0.1)
    draws = np.random.default_rng(0)
    student.train()
    for _ in range(epochs):
        for number in draws.permutation(len(batches)):
            batch = batches[number]
            wanted = batch.wanted.log_softmax(-1)
            given = torch.stack(student(batch.ids, batch.mask)).log_softmax(-1)
            loss = nn.functional.kl_div(given, wanted.expand_as(given), log_target=True, reduction="sum") / len(wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    student.eval()


def answer(student: Student, batches: list[Batch]) -> tuple[np.ndarray, np.ndarray, float]:
    """(exits, rows): how sure each exit is of its answer, and whether it is right; the last exit's divergence from the
    teacher."""
    sure, right, divergence = [], [], 0.0
    with torch.inference_mode():
        for batch in batches:
            found = torch.stack([each.softmax(-1) for each in student(batch.ids, batch.mask)])
            wanted = batch.wanted.log_softmax(-1)
            divergence += float(nn.functional.kl_div(found[-1].log(), wanted, log_target=True, reduction="sum"))
            sure.append(found.max(-1).values.numpy())
            right.append((found.argmax(-1) == batch.labels).numpy())
    answers = np.concatenate(right, 1)
    return np.concatenate(sure, 1), answers, divergence / answers.shape[1]


def leave(sure: np.ndarray, right: np.ndarray, threshold: float) -> tuple[float, np.ndarray]:
    """Accuracy, and the share of rows that leave at each exit."""
    first = np.argmax(np.vstack([sure[:-1] > threshold, np.ones((1, sure.shape[1]), bool)]), 0)
    return float(right[first, np.arange(len(first))].mean()), np.bincount(first, minlength=len(sure)) / len(first)


def main() -> None:
    """Print the machine and what each way gives."""
    parser = argparse.ArgumentParser()
    parser.add_argument("student", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--set", required=True)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--rows", type=int, default=20000)
    options = parser.parse_args()
    print_machine()
    torch.manual_seed(0)
    checkpoint = open_checkpoint(options.student)
    tokenizer, teacher = load_tokenizer(checkpoint), load_checkpoint(options.teacher).eval()
    task = checkpoint.task.read_by(tokenizer)
    rows = load_rows(options.set)
    rows["train"] = rows["train"].sample(options.rows, seed=0)
    batches = {part: make_batches(rows[part], (tokenizer, task), teacher, 64) for part in rows}
    model = load_checkpoint(checkpoint)
    model.set_attn_implementation("eager")
    model.bert.embeddings.requires_grad_(False)
    shapes = layer_shapes(model)
    median = int(np.median(np.concatenate([each.mask.sum(1).numpy() for each in batches["dev"]])))
    tables = Tables(sizes_of(checkpoint.config, task=task), median)
    full = tables.time(shapes, {})
    print(f"{len(shapes)} layers, {median} tokens, {full * 1000:.0f} us without tokenization (composed)")
    count = len(shapes)
    average = average_attention(model, batches["train"])
    tries: list[tuple[str, int, dict[int, float], list[int], str]] = [("as it is", count, {}, [count], "")]
    tries += [(f"first {less} layers", less, {}, [less], "") for less in range(count - 1, count // 2, -1)]
    for name, keep in WAYS.items():
        if max(keep) < count:
            chosen = CHOICES if keep in ({1: 0.5}, {1: 0.5, 3: 0.25}) else CHOICES[1:2]  # means are halves
            tries += [(f"{name}, {choice}", count, keep, [count], choice) for choice in chosen]
    tries += [("exits", count, {}, list(range(max(1, count // 2), count + 1)), "")]
    for name, layers, keep, exits, choice in tries:
        changed = copy.deepcopy(model)
        changed.bert.encoder.layer = changed.bert.encoder.layer[:layers]
        student = Student(changed, keep, exits, choice, average)
        teach(student, batches["train"], options.epochs, options.rate)
        dev, test = (answer(student, batches[part]) for part in ("dev", "test"))
        if len(exits) == 1:
            time = tables.time(shapes[:layers], keep)
            accuracies = f"dev {dev[1].mean():.4f} test {test[1].mean():.4f}"
            divergence = (dev[2] + test[2]) / 2
            print(f"{name:52s} {accuracies} divergence {divergence:.4f} {full / time:.2f}x", flush=True)
            continue
        whole = dev[1][-1].mean()
        for allowed in (0.0, 0.005):
            fits = [t for t in np.linspace(0.3, 0.9999, 400) if leave(*dev[:2], t)[0] >= whole - allowed]
            threshold = min(fits, default=1.0)
            accuracy, shares = leave(*test[:2], threshold)
            time = sum(share * tables.time(shapes[:at], {}) for share, at in zip(shares, exits, strict=True))
            print(
                f"{name}, {allowed:.1%} given on dev    dev {leave(*dev[:2], threshold)[0]:.4f} test {accuracy:.4f} "
                f"{full / time:.2f}x, shares {np.round(shares, 2).tolist()}, all layers: dev {whole:.4f} test "
                f"{test[1][-1].mean():.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
