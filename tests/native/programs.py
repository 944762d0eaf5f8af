"""A small program written by hand, and what it must give, computed by numpy in its own words."""

import math
from dataclasses import dataclass

import numpy as np

from edgelm.graph.native.writer import ProgramWriter, Quantizer, bits

HIDDEN, HEADS, FFN, LABELS, TOKENS = 24, 3, 40, 3, 50  # no multiples of 16: blocks are padded
VOCABULARY = 30


@dataclass(frozen=True)
class HandMade:
    """A program without weights of its own (they lie in it), and its arrays."""

    text: bytes
    arrays: dict[str, np.ndarray]
    kind: str = ""

    def expected(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The logits of (sequences, tokens) ids, in 64 bits but for the bytes."""
        a = self.arrays
        x = a["words"][ids] * a["word_scales"][ids][..., None] + a["positions"][: ids.shape[1]]
        x = normed(x, a["gain"], a["shift"])
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        if self.kind == "halved":
            x, mask = halved(x, mask)
        qkv = product(x, GRID, a["qkv"], a["qkv_scales"]) + a["qkv_bias"]
        parts = qkv.reshape(*x.shape[:2], 3, HEADS, HIDDEN // HEADS)
        queries, keys, values = (parts[:, :, index].transpose(0, 2, 1, 3) for index in range(3))
        if self.kind == "modern":
            queries, keys = (rotated(x, a["cosines"], a["sines"]) for x in (queries, keys))
        scores = queries @ keys.transpose(0, 1, 3, 2)
        if self.kind == "disentangled":
            scores = scores + self._positions(queries, keys)
        scores = scores / math.sqrt(HIDDEN // HEADS)
        scores = scores + np.where(mask > 0, 0.0, -10000.0)[:, None, None, :]
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        context = (shares @ values).transpose(0, 2, 1, 3).reshape(*x.shape[:2], HIDDEN)
        x = x + product(context, GRID, a["out"], a["out_scales"]) + a["out_bias"]
        x = normed(x, a["gain"], a["shift"])
        inner = product(x, GRID, a["up"], a["up_scales"])
        inner, gates = np.split(inner, 2, -1) if self.kind == "modern" else (inner, 1.0)
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))) * gates
        x = normed(x + product(inner, SMALL, a["down"], a["down_scales"]), a["gain"], a["shift"])
        answers, early = (np.tanh(rows @ a["head"] + a["head_bias"]) for rows in (x[:, 0], mean))
        if self.kind != "leaving":
            return answers
        *_, following, largest = np.sort(early, -1).T
        return np.where((largest - following > THRESHOLD)[:, None], early, answers)

    def _positions(self, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """From content to position and from position to content, gathered pair by pair."""
        places = np.arange(queries.shape[2])
        column = self.arrays["columns"].astype(int)[places[None, :] - places[:, None] + TOKENS - 1]
        asked, asking = (FACTOR * self.arrays[name][:, :, column] for name in ("asked", "asking"))
        return np.einsum("bhid,hdij->bhij", queries, asked) + np.einsum("bhjd,hdij->bhij", keys, asking)


FACTOR, COLUMNS = 0.75, 11  # of tables of positions
THRESHOLD = 0.125  # of the largest logit above the next, for a text to leave
GRID, SMALL = Quantizer(0.03, 120), Quantizer(0.02, 9)


def normed(x: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * gain + shift


def rotated(x: np.ndarray, cosines: np.ndarray, sines: np.ndarray) -> np.ndarray:
    """Pairs of numbers half a head apart, (..., tokens, size), as complex numbers of another angle."""
    low, high = np.split(x, 2, -1)
    turned = (low + 1j * high) * (cosines + 1j * sines)[: x.shape[-2]]
    return np.concatenate([turned.real, turned.imag], -1)


def halved(x: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each sequence, and of two others the mean of those that are no padding."""
    rows, left = [x[:, 0]], [mask[:, 0]]
    for at in range(1, x.shape[1], 2):
        seen = mask[:, at : at + 2, None] > 0
        both = np.where(seen.any(1, keepdims=True), seen, 1)  # of two that are padding nothing is seen
        rows.append((x[:, at : at + 2] * both).sum(1) / both.sum(1))
        left.append(seen.any((1, 2)).astype(mask.dtype))
    return np.stack(rows, 1), np.stack(left, 1)


def product(x: np.ndarray, grid: Quantizer, weights: np.ndarray, scales: np.ndarray) -> np.ndarray:
    found = np.clip(np.round(x / np.float32(grid.scale)) + grid.zero, 0, 255).astype(np.int64) - grid.zero
    return (found @ weights.astype(np.int64)) * (float(np.float32(grid.scale)) * scales)


def hand_made(*, largest: int = 127, seed: int = 0, kind: str = "") -> HandMade:
    """An encoder of one layer with random weights.

    Args:
        largest: of the INT8 weights.
        kind: modern: with rotary positions and a gated feed-forward network; disentangled: with scores from content to
            position and back; halved: with half of the tokens from the attention on; leaving: with a head before
            the attention by which some texts leave.
    """
    random = np.random.default_rng(seed)
    sizes = {
        "qkv": (HIDDEN, 3 * HIDDEN),
        "out": (HIDDEN, HIDDEN),
        "up": (HIDDEN, FFN * (1 + (kind == "modern"))),
        "down": (FFN, HIDDEN),
    }
    arrays = {name: random.integers(-largest, largest + 1, shape).astype(np.int8) for name, shape in sizes.items()}
    for name, (inputs, outputs) in sizes.items():
        spread = 1.5 / (largest * math.sqrt(inputs))
        arrays[f"{name}_scales"] = (random.uniform(0.5, 1, outputs) * spread).astype(np.float32)
    floats = {"positions": (TOKENS, HIDDEN), "qkv_bias": 3 * HIDDEN, "out_bias": HIDDEN, "head": (HIDDEN, LABELS)}
    for name, shape in (floats | {"head_bias": LABELS, "shift": HIDDEN}).items():
        arrays[name] = random.normal(0, 0.2, shape).astype(np.float32)
    arrays["gain"] = random.uniform(0.5, 1.5, HIDDEN).astype(np.float32)
    arrays["words"] = random.integers(-127, 128, (VOCABULARY, HIDDEN)).astype(np.int8)
    arrays["word_scales"] = random.uniform(0.005, 0.01, VOCABULARY).astype(np.float32)
    angles = np.arange(TOKENS)[:, None] * np.array([1.0, 0.3, 0.1, 0.01])
    arrays |= {"cosines": np.cos(angles).astype(np.float32), "sines": np.sin(angles).astype(np.float32)}
    for name in ("asked", "asking"):
        arrays[name] = random.normal(0, 0.5, (HEADS, HIDDEN // HEADS, COLUMNS)).astype(np.float32)
    arrays["columns"] = np.clip(np.arange(1 - TOKENS, TOKENS) + 5, 0, COLUMNS - 1).astype(np.float32)
    return HandMade(_write(arrays, kind), arrays, kind)


def _write(a: dict[str, np.ndarray], kind: str) -> bytes:
    w = ProgramWriter(None)  # type: ignore[arg-type]  # no constant of a graph is named
    w.longest, w.reads_mask, halves = TOKENS, True, kind == "halved"
    level = 1 + halves
    x, y, z = (w.buffer("floats", HIDDEN, per_token=level) for _ in range(3))
    small, large = w.buffer("bytes", HIDDEN, per_token=level), w.buffer("bytes", FFN, per_token=level)
    queries, keys, values = (w.buffer(kind, HIDDEN, per_token=level) for kind in ("floats", "keys", "floats"))
    first = w.buffer("floats", HIDDEN, per_token=False)
    logits = w.buffer("floats", LABELS, per_token=False)
    words = f"ids {VOCABULARY} 0 -1 bytes {w.place(a['words'], np.int8)} {w.place(a['word_scales'])}"
    embedded = w.buffer("floats", HIDDEN, per_token=1) if halves else x
    w.step("embed", HIDDEN, embedded, 2, words, f"positions {TOKENS} 0 -1 floats {w.place(a['positions'])}")

    def norm(source: str, to: str, target: str) -> None:
        terms = f"{w.place(a['gain'])} {w.place(a['shift'])} {bits(1e-12)}"
        w.step("norm", HIDDEN, source, terms, f"from 1 {to}", target)

    def linear(name: str, source: str, grid: Quantizer, bias: str, *rest: object) -> None:
        place, scales = w.place(a[name], np.int8), w.place(a[f"{name}_scales"])
        w.step("linear", *a[name].shape, source, place, 1, scales, bits(grid.scale), grid.zero, bias, *rest)

    def head(source: str, to: str) -> None:
        places = w.place(a["head"]), w.place(a["head_bias"])
        w.step("dense", HIDDEN, LABELS, source, *places, "tanh", "from 0", f"rows {to}")

    grid = w.quantized(GRID, small)
    if halves:
        whole = w.buffer("floats", HIDDEN, per_token=1)
        norm(embedded, whole, "bytes 0")
        w.pin(whole)
        w.step("halve", HIDDEN, whole, 1, f"from 1 {y} bytes 1 {grid}")
    else:
        norm(x, y, f"bytes 1 {grid}")
    answer = w.buffer("floats", LABELS, per_token=False) if kind == "leaving" else logits
    if kind == "leaving":
        w.pin(y)
        w.step("mean", HIDDEN, y, first, 1)
        head(first, logits)
        w.step("leave", LABELS, logits, bits(THRESHOLD), answer)
    linear("qkv", small, GRID, w.place(a["qkv_bias"]), "none", "from 0", f"heads {queries} {keys} {values}")
    if kind == "modern":
        tables = w.place(a["cosines"]), w.place(a["sines"])
        w.step("rotate", HEADS, HIDDEN // HEADS, TOKENS, *tables, queries, keys)
    scale = bits(1 / math.sqrt(HIDDEN // HEADS))
    operation = ("attention", HEADS, HIDDEN // HEADS)
    if kind == "disentangled":
        places = [w.place(a[name]) for name in ("asked", "columns", "asking", "columns")]
        operation = ("disentangled-attention", *operation[1:], TOKENS, COLUMNS, bits(FACTOR), *places)
    w.step(*operation, queries, keys, values, scale, 1, x, f"bytes 1 {grid}")
    linear("out", small, GRID, w.place(a["out_bias"]), "none", f"from 1 {y}", f"rows {z}")
    norm(z, y, f"bytes 1 {grid}")
    if kind == "modern":
        both = w.buffer("floats", 2 * FFN, per_token=True)
        linear("up", small, GRID, "-", "none", "from 0", f"rows {both}")
        w.step("gate", FFN, both, "gelu", "from 0", f"bytes 1 {w.quantized(SMALL, large)}")
    else:
        linear("up", small, GRID, "-", "gelu", "from 0", f"bytes {w.quantized(SMALL, large)}")
    linear("down", large, SMALL, "-", "none", f"from 1 {y}", f"rows {z}")
    norm(z, x, "bytes 0")
    for buffer in (x, queries, keys, values):
        w.pin(buffer)
    w.step("first", HIDDEN, x, first, 0)
    head(first, logits)
    if kind == "leaving":
        w.step("leave", LABELS, logits, bits(-1.0), answer)
    w.output("logits", answer)
    return w.text()
