"""What is said of graphs after one sequence and the other is what all their logits together say."""

from __future__ import annotations

import numpy as np
import pytest

from edgelm.export.generation.agreement import Agreement


def test_sequences_are_judged_together() -> None:
    rng = np.random.default_rng(0)
    wanted = [rng.normal(size=(rows, 50)).astype(np.float32) * 4 for rows in (3, 9)]
    found = [logits + rng.normal(size=logits.shape).astype(np.float32) for logits in wanted]
    agreement = Agreement()
    for own, other in zip(found, wanted, strict=True):
        agreement.add(own, other)
    parity = agreement.parity(0.1, hard_texts=6)

    own, other = np.concatenate(found), np.concatenate(wanted)
    chances = np.exp(other) / np.exp(other).sum(axis=1, keepdims=True)
    picked = chances[np.arange(12), own.argmax(axis=1)]
    assert parity.max_error == np.abs(own - other).max()
    assert parity.mean_error == pytest.approx(np.abs(own - other).mean(), rel=1e-6)  # summed in FP64
    assert parity.changed == pytest.approx((picked < chances.max(axis=1) / 2).mean(), abs=1e-6)  # as it is rounded
    assert (parity.samples, parity.tolerance, parity.hard_texts) == (2, 0.1, 6)
    assert agreement.scale == np.abs(other).max()


def test_what_is_no_number_is_not_lost() -> None:
    agreement, logits = Agreement(), np.ones((2, 4), np.float32)
    agreement.add(logits * np.nan, logits)
    agreement.add(logits, logits)
    assert not np.isfinite(agreement.parity(0.1, hard_texts=0).max_error)
