"""Heads behind the layers of a classifier: where they begin, and how sure each must be for a text to leave there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import nn

from edgelm.anatomy import TaskModel
from edgelm.anatomy.exits import NEVER, exit_heads, exits_heard
from edgelm.anatomy.hooks import Watch, watching
from edgelm.compress.batches import EncodedDataset
from edgelm.data.dataset import Dataset
from edgelm.data.encoding import Encoded
from edgelm.progress import Progress, silent

_BATCH = 32
_RIDGE = 1.0  # of the states' mean variance: training moves them, most where they vary least
_STEPS = 50  # thresholds that are tried
_FEWEST = 0.03  # of the texts: a head that fewer leave by costs the others more than it saves
_EQUAL = 1e-9  # metrics that are as good
_POWERS = 3.0  # of e, between which temperatures lie


@dataclass(frozen=True)
class Exits:
    """By which layers texts leave, and how many of those that were looked at.

    Attributes:
        thresholds: by the layer's number from 0, how far the largest logit must be above the next, or further.
        shares: of the texts, those that leave there.
        score: the metric with them; `whole`: where every text goes to the end.
    """

    thresholds: Mapping[int, float]
    shares: Mapping[int, float]
    score: float
    whole: float


def fit_heads(student: TaskModel, teacher: TaskModel, rows: Dataset, *, progress: Progress = silent) -> None:
    """Let the student's heads on the way begin where least squares take what they read to the teacher's logits, in
    place."""
    heads = exit_heads(student.model)
    states: dict[int, list[torch.Tensor]] = {number: [] for number in range(len(heads))}
    wanted = []

    def keep(number: int) -> Watch:
        return lambda given: states[number].append(given)

    data = EncodedDataset(replace(rows, labels=None), student)
    student.model.eval()
    with torch.inference_mode(), watching(inputs=[(head, keep(number)) for number, head in enumerate(heads)]):
        for part in data.by_length(_BATCH):
            batch = {name: tensor.to(student.device) for name, tensor in part.tensors.items()}
            student.outputs(batch)
            wanted.append(teacher.outputs(batch)[0])
            progress("fit heads", part.done, len(data))
    for number, head in enumerate(heads):
        _fit(head, torch.cat(states[number]).double(), torch.cat(wanted).double())


def _fit(head: nn.Module, states: torch.Tensor, wanted: torch.Tensor) -> None:
    """Ridge regression: (rows, hidden) to (rows, labels)."""
    middle, mean = states.mean(dim=0), wanted.mean(dim=0)
    apart = states - middle
    products = apart.T @ apart
    products.diagonal().add_(_RIDGE * products.diagonal().mean() + torch.finfo(products.dtype).tiny)
    matrix = torch.linalg.solve(products, apart.T @ (wanted - mean))
    with torch.no_grad():
        head.get_parameter("weight").copy_(matrix.T)
        head.get_parameter("bias").copy_(mean - middle @ matrix)


def choose_thresholds(
    said: np.ndarray,
    labels: Sequence[int],
    layers: Sequence[int],
    metric: Callable[[np.ndarray], float],
    *,
    max_drop: float,
) -> Exits:
    """The lowest threshold down to which no more than so many points of a metric are lost: of how many times as likely
    as the next a head takes its label to be, the same for all heads once each is calibrated (temperature scaling, Guo
    et al., arXiv:1706.04599).

    Args:
        said: (heads, rows, labels), the logits of each head for labelled rows; the last head is the model's own.
        layers: that the others stand behind, by their numbers.
        metric: of logits, (rows, labels).
        max_drop: points.

    Returns:
        the heads that a part of the texts leaves by; none where no threshold will do.
    """
    heads, rows, _ = said.shape
    if heads == 1:
        return Exits({}, {}, metric(said[-1]), metric(said[-1]))
    temperatures = [_temperature(head, np.asarray(labels)) for head in said[:-1]]
    ordered = np.sort(said[:-1], axis=-1)
    sure = (ordered[..., -1] - ordered[..., -2]) / np.array(temperatures)[:, None]
    places, chosen = np.full(rows, heads - 1), NEVER
    whole = score = metric(said[-1])
    for share in np.linspace(0, 1, _STEPS + 1)[1:]:
        threshold = float(np.quantile(sure, 1 - share))
        tried = np.vstack([sure > threshold, np.full((1, rows), True)]).argmax(axis=0)
        found = metric(said[tried, np.arange(rows)])
        if found < whole - max_drop / 100 - _EQUAL:
            break
        places, score, chosen = tried, found, threshold
    shares = {layer: float((places == number).mean()) for number, layer in enumerate(layers)}
    used = [number for number, layer in enumerate(layers) if shares[layer] >= _FEWEST]
    if len(used) < len(layers):  # those who left by the others leave later
        kept = [layers[number] for number in used]
        return choose_thresholds(said[[*used, -1]], labels, kept, metric, max_drop=max_drop)
    thresholds = {layer: round(chosen * by, 4) for layer, by in zip(layers, temperatures, strict=True)}
    return Exits(thresholds, shares, score, whole)


def _temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What logits, (rows, labels), are divided by for the labels to be as likely as they say, on average."""
    given, wanted = torch.from_numpy(logits).double(), torch.from_numpy(labels)

    def loss(power: float) -> float:
        return float(nn.functional.cross_entropy(given / math.exp(power), wanted))

    return math.exp(float(minimize_scalar(loss, bounds=(-_POWERS, _POWERS), method="bounded").x))


def head_logits(model: TaskModel, rows: Dataset, *, progress: Progress = silent) -> tuple[np.ndarray, Encoded]:
    """(heads, rows, labels): the logits of each head of a model that no text leaves as yet, its own last; and the rows
    as it read them."""
    data = EncodedDataset(replace(rows, labels=None), model)
    found: np.ndarray | None = None
    model.model.eval()
    with torch.inference_mode():
        for part in data.by_length(_BATCH):
            batch = {name: tensor.to(model.device) for name, tensor in part.tensors.items()}
            with exits_heard(model.model) as early:
                last = model.rows(batch).values
            each = torch.stack([*early, last]).float().cpu().numpy()
            if found is None:
                found = np.empty((len(each), len(data), each.shape[-1]), dtype=np.float32)
            found[:, part.numbers] = each
            progress("choose thresholds", part.done, len(data))
    if found is None:
        raise ValueError("there are no rows to choose thresholds by")
    return found, data.encoded
