"""Changes the logits of the next token before it is chosen: what may come, and how likely it is.

Each function here takes the logits of one text, (vocabulary,) float32, and changes them in place; what cannot come gets
minus infinity. They give what the `LogitsProcessor` of the same name in transformers gives, in its order.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgelm.tasks.generation import GenerationSettings

# (tokens so far, int64; how many of them were written; logits, changed in place)
Processor = Callable[[np.ndarray, int, np.ndarray], None]
_NEVER = -np.inf
_COLUMNS = 1024  # of the table in which the largest values are looked for


def make_processors(settings: GenerationSettings) -> tuple[Processor, ...]:
    """What the settings ask for, in transformers' order; empty where the logits stay as they are."""
    found: list[Processor] = []
    if settings.repetition_penalty != 1.0:
        found.append(lambda tokens, new, logits: penalize_repetition(logits, tokens, settings.repetition_penalty))
    if settings.no_repeat_ngram_size > 0:
        found.append(lambda tokens, new, logits: forbid_ngrams(logits, tokens, settings.no_repeat_ngram_size))
    if bad := [token for token in settings.bad_ids if token not in settings.eos_ids]:
        found.append(lambda tokens, new, logits: forbid(logits, bad))
    if settings.min_new_tokens > 0 and settings.eos_ids:
        ends = list(settings.eos_ids)
        found.append(lambda tokens, new, logits: forbid(logits, ends) if new < settings.min_new_tokens else None)
    if (first := settings.forced_bos_id) is not None:
        found.append(lambda tokens, new, logits: force(logits, first) if len(tokens) == 1 else None)
    if (last := settings.forced_eos_id) is not None:
        most = settings.max_new_tokens
        found.append(lambda tokens, new, logits: force(logits, last) if new == most - 1 else None)
    if settings.do_sample:
        found += _warpers(settings)
    return tuple(found)


def _warpers(settings: GenerationSettings) -> list[Processor]:
    found: list[Processor] = []
    if settings.temperature != 1.0:
        found.append(lambda tokens, new, logits: divide(logits, settings.temperature))
    if settings.top_k > 0:
        found.append(lambda tokens, new, logits: keep_top_k(logits, settings.top_k))
    if settings.top_p < 1.0:
        found.append(lambda tokens, new, logits: keep_top_p(logits, settings.top_p))
    if settings.min_p > 0.0:
        found.append(lambda tokens, new, logits: keep_min_p(logits, settings.min_p))
    return found


def divide(logits: np.ndarray, temperature: float) -> None:
    """By a temperature: below 1 the likely tokens become likelier, above 1 all become more alike."""
    logits /= np.float32(temperature)


def keep_top_k(logits: np.ndarray, k: int) -> None:
    """The k largest, and what equals the last of them (Fan et al. 2018, arXiv:1805.04833)."""
    if k < len(logits):
        logits[logits < logits[largest(logits, k)].min()] = _NEVER


def keep_top_p(logits: np.ndarray, p: float) -> None:
    """The fewest whose probabilities sum to p (nucleus sampling, Holtzman et al. 2020, arXiv:1904.09751)."""
    shares = softmax(logits)
    rest = np.float32(1 - p)
    there = np.flatnonzero(shares > rest / len(shares))  # all others sum to less than the rest
    order = there[np.argsort(shares[there])]
    sums = np.cumsum(shares[order], dtype=np.float64)
    out = sums <= rest - (1.0 - sums[-1])
    out[-1] = False  # the likeliest
    kept = logits[order[~out]]
    logits[:] = _NEVER
    logits[order[~out]] = kept


def keep_min_p(logits: np.ndarray, p: float) -> None:
    """Those at least p times as likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082)."""
    shares = softmax(logits)
    logits[shares < np.float32(p) * shares.max()] = _NEVER


def penalize_repetition(logits: np.ndarray, tokens: np.ndarray, penalty: float) -> None:
    """Of tokens that are there already: divides what is positive and multiplies what is negative (CTRL, Keskar et al.
    2019, arXiv:1909.05858)."""
    seen = tokens[tokens < len(logits)]
    found = logits[seen]
    logits[seen] = np.where(found < 0, found * np.float32(penalty), found / np.float32(penalty))


def forbid_ngrams(logits: np.ndarray, tokens: np.ndarray, size: int) -> None:
    """Forbid what would end a row of `size` tokens that is there already (Paulus et al. 2018, arXiv:1705.04304)."""
    if len(tokens) < size:
        return
    rows = np.lib.stride_tricks.sliding_window_view(tokens, size)
    same = (rows[:, :-1] == tokens[len(tokens) + 1 - size :]).all(axis=1)
    ends = rows[same, -1]
    logits[ends[ends < len(logits)]] = _NEVER


def forbid(logits: np.ndarray, ids: list[int]) -> None:
    """Forbid tokens."""
    logits[ids] = _NEVER


def force(logits: np.ndarray, token: int) -> None:
    """Forbid every other token."""
    logits[:] = _NEVER
    logits[token] = 0


def largest(values: np.ndarray, count: int) -> np.ndarray:
    """Where the largest of (n,) values are, in no order, (count,).

    They lie in the columns of a table whose own largest are largest: most values are looked at but once.
    """
    width = len(values) // _COLUMNS
    if width < 2 or count > _COLUMNS // 4:
        return np.argpartition(values, -count)[-count:]
    table, rest = values[: width * _COLUMNS].reshape(width, _COLUMNS), np.arange(width * _COLUMNS, len(values))
    columns = np.argpartition(table.max(axis=0), -count)[-count:]
    places = np.concatenate([(np.arange(width)[:, None] * _COLUMNS + columns).ravel(), rest])
    return places[np.argpartition(values[places], -count)[-count:]]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, (vocabulary,) float32."""
    shares: np.ndarray = np.exp(logits - logits.max())
    shares /= shares.sum()
    return shares


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities, of the last axis, float32."""
    shifted: np.ndarray = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted
