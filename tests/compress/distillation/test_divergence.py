"""Divergences against the formulas of their papers in float64, and the loss from a teacher's likeliest tokens against
the loss from all of its logits."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edgelm.anatomy import Rows
from edgelm.anatomy.token_head import Stack, TokenHead
from edgelm.compress.distillation.chunked_rows import chunked_sum
from edgelm.compress.distillation.divergence import Divergence
from edgelm.compress.distillation.losses import soft_loss
from edgelm.compress.distillation.token_teacher import Lesson
from edgelm.compress.distillation.top_logits import TopLogits, TopLogitsFile
from edgelm.compress.distillation.writing_loss import stacks_loss, token_losses

KINDS = ("forward-kl", "reverse-kl", "jensen-shannon")
ROWS, WIDTH, WORDS = 13, 8, 50


def softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def kl(p, q):
    return (p * np.log(p / q)).sum(axis=-1)


def by_formula(kind, teacher, student, beta):
    """KL(P‖Q), KL(Q‖P), and GKD's β KL(P‖βP + (1-β)Q) + (1-β) KL(Q‖βP + (1-β)Q)."""
    if kind == "forward-kl":
        return kl(teacher, student)
    if kind == "reverse-kl":
        return kl(student, teacher)
    middle = beta * teacher + (1 - beta) * student
    return beta * kl(teacher, middle) + (1 - beta) * kl(student, middle)


@pytest.mark.parametrize("kind", KINDS)
def test_divergences_are_those_of_the_papers(kind):
    student, teacher = np.random.default_rng(0).normal(size=(2, 7, 5)) * 3
    wanted = 4.0 * by_formula(kind, softmax(teacher / 2), softmax(student / 2), 0.3)
    found = Divergence(kind, 2.0, 0.3).of_logits(torch.tensor(student), torch.tensor(teacher))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9)  # both in float64
    own = Rows(torch.tensor(student), None, 7)
    loss = soft_loss(own, torch.tensor(teacher), "classes", temperature=2.0, kind=kind, mixture=0.3)
    assert loss.item() == pytest.approx(wanted.mean(), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_do_not_exclude_each_other_have_two_events_each(kind):
    student, teacher = np.random.default_rng(1).normal(size=(2, 4, 3))
    both = [np.stack([1 / (1 + np.exp(-x)), 1 / (1 + np.exp(x))], axis=-1) for x in (teacher, student)]
    wanted = by_formula(kind, *both, 0.5).mean(axis=-1)
    found = Divergence(kind, 1.0, 0.5).of_labels(torch.tensor(student), torch.tensor(teacher))
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-9)


@pytest.mark.parametrize("count", [1, 5, 20, WORDS])
def test_the_likeliest_tokens_give_the_loss_of_full_logits_but_for_the_rest(count):
    """KL from all logits less KL from the kept events is r KL(teacher ‖ student) within the rest, never negative."""
    generator = torch.Generator().manual_seed(0)
    teacher, student = (torch.randn(ROWS, WORDS, generator=generator) * 2 for _ in range(2))
    divergence = Divergence(temperature=2.0)
    own, wanted = divergence.soften(student), divergence.soften(teacher)
    top = TopLogits.of(wanted, count)
    kept = divergence.between(top.same_events(own), top.events()) / 4
    full = divergence.between(own, wanted) / 4
    missing = []
    for row in range(ROWS):
        rest = sorted(set(range(WORDS)) - set(top.tokens[row].tolist()))
        p, q = (softmax(values[row, rest].double().numpy()) if rest else np.ones(1) for values in (wanted, own))
        missing.append(float(top.rest[row].exp()) * kl(p, q))
    assert min(missing) >= 0
    np.testing.assert_allclose((full - kept).numpy(), missing, atol=2e-6)  # FP32 sums of 50 logarithms


@pytest.mark.parametrize("kind", KINDS)
def test_no_divergence_grows_where_tokens_are_taken_together(kind):
    teacher, student = torch.randn(2, ROWS, WORDS).double() * 3
    divergence = Divergence(kind, 1.0, 0.4)
    own, wanted = divergence.soften(student), divergence.soften(teacher)
    losses = []
    for count in (1, 4, 16, WORDS):
        top = TopLogits.of(wanted, count)
        losses.append(divergence.between(top.same_events(own), top.events()))
    assert all((after >= before - 1e-9).all() for before, after in itertools.pairwise(losses))
    torch.testing.assert_close(losses[-1], divergence.between(own, wanted), atol=1e-9, rtol=1e-7)


def test_what_is_kept_on_disk_is_what_was_written_within_fp16(tmp_path):
    wanted = Divergence().soften(torch.randn(ROWS, WORDS) * 3)
    top = TopLogits.of(wanted, 8)
    file = TopLogitsFile(tmp_path, rows=ROWS, count=8, vocabulary=WORDS)
    order = torch.randperm(ROWS)
    file.write(order[:6], TopLogits(top.tokens[order[:6]], top.values[order[:6]], top.rest[order[:6]]))
    file.finish_batches(1)
    again = TopLogitsFile(tmp_path, rows=ROWS, count=8, vocabulary=WORDS)  # after an interruption
    assert again.done == 1
    again.write(order[6:], TopLogits(top.tokens[order[6:]], top.values[order[6:]], top.rest[order[6:]]))
    again.finish_batches(2)
    found = TopLogitsFile(tmp_path, rows=ROWS, count=8, vocabulary=WORDS).read(torch.arange(ROWS))
    assert torch.equal(found.tokens, top.tokens)
    torch.testing.assert_close(found.values, top.values, rtol=2**-11, atol=0)  # half of FP16's last bit
    assert torch.equal(found.rest, top.rest)
    on_disk = sum(part.stat().st_size for part in tmp_path.glob("*.bin"))
    assert on_disk == TopLogitsFile.nbytes(ROWS, 8, WORDS) == ROWS * (8 * 4 + 4)
    assert TopLogitsFile(tmp_path, rows=ROWS, count=4, vocabulary=WORDS).done == 0  # of another size: made anew


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("kind", KINDS)
def test_chunks_give_loss_and_gradients_of_all_logits_at_once(kind, bias):
    torch.manual_seed(0)
    head = TokenHead(torch.nn.Linear(WIDTH, WORDS, bias=False), torch.randn(1, WORDS) if bias else None, cap=5.0)
    taught = TokenHead(torch.nn.Linear(WIDTH + 2, WORDS))
    states, wanted = torch.randn(ROWS, WIDTH, requires_grad=True), torch.randn(ROWS, WIDTH + 2)
    weights, targets = torch.rand(ROWS), torch.randint(WORDS, (ROWS,))
    divergence = Divergence(kind, 2.0, 0.2)
    lesson = Lesson(divergence, None, wanted, taught)

    def loss(logits, rows):
        return lesson.losses(logits, rows) + 0.5 * token_losses(logits, targets[rows])

    def gradients(total):
        states.grad = head.module.weight.grad = None
        (3 * total).backward()
        return total.detach(), states.grad, head.module.weight.grad

    logits = head(states)
    plain = divergence.of_logits(logits, taught(wanted).detach())
    plain = plain + 0.5 * torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    expected = gradients((plain * weights).sum())
    for chunk in (1, 4 * WORDS, 1000 * WORDS):
        found = gradients(chunked_sum(states, head, loss, weights, chunk=chunk))
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, atol=2e-6, rtol=2e-5)  # FP32, summed in another order
    with torch.no_grad():
        assert chunked_sum(states, head, loss, weights, chunk=1).item() == pytest.approx(expected[0].item(), rel=1e-5)


class Largest(TorchDispatchMode):
    """Notes the most elements of a tensor that is made inside."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return made


def test_no_tensor_holds_the_logits_of_all_rows():
    rows, words = 64, 500
    head, taught = (TokenHead(torch.nn.Linear(WIDTH, words, bias=False)) for _ in range(2))
    states = torch.randn(rows, WIDTH, requires_grad=True)
    lesson = Lesson(Divergence("jensen-shannon"), None, torch.randn(rows, WIDTH), taught)
    with Largest() as largest:
        chunked_sum(states, head, lesson.losses, torch.ones(rows), chunk=4 * words).backward()
    assert largest.numel == words * WIDTH  # the head's gradient; four rows of logits have 2,000 elements, all 32,000
    assert head.module.weight.grad is not None


def test_hidden_states_are_compared_by_their_size_at_real_tokens():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    student, teacher = (
        torch.randn(3, 2, 3, 4),
        torch.randn(5, 2, 3, 4) * torch.tensor([1.0, 10, 100, 10, 1]).view(5, 1, 1, 1),
    )
    lesson = Lesson(Divergence(), stacks=(Stack(tuple(teacher), mask),))
    real = mask.bool()
    wanted = np.mean(
        [
            ((student[s][real] - teacher[t][real]).square().sum() / teacher[t][real].square().sum()).item()
            for t, s in ((0, 0), (2, 1), (4, 2))
        ]
    )
    own = Stack(tuple(student), mask)
    assert stacks_loss([own], lesson, "uniform", None).item() == pytest.approx(wanted, rel=1e-5)
    close = Stack((teacher[0], teacher[2], teacher[4]), mask)
    assert stacks_loss([close], lesson, "uniform", None).item() == 0
    dynamic = Stack((teacher[0], teacher[2], teacher[4]), mask)
    lesson = Lesson(Divergence(), stacks=(Stack((teacher[0], teacher[2], teacher[4]), mask),))
    assert stacks_loss([dynamic], lesson, "dynamic", None).item() == 0
