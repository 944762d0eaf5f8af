"""Forward hooks that are always taken away again: what modules are given and give, seen or replaced while a model
runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

Watch = Callable[[torch.Tensor], torch.Tensor | None]


@contextmanager
def watching(
    *,
    calls: Iterable[tuple[nn.Module, Callable[[], None]]] = (),
    inputs: Iterable[tuple[nn.Module, Watch]] = (),
    outputs: Iterable[tuple[nn.Module, Watch]] = (),
) -> Iterator[None]:
    """Inside, functions are told of modules that run; of one module, in the order of the pairs.

    An error that a function raises stops the model there.

    Args:
        calls: called each time before the module runs.
        inputs: given the module's first input each time before it runs; a tensor that it returns takes the input's
            place.
        outputs: given what the module gives, a tensor; a tensor that it returns takes its place.
    """
    with ExitStack() as stack:
        for module, call in calls:
            stack.enter_context(_before_call(module, call))
        for module, watch in inputs:
            stack.enter_context(_before(module, watch))
        for module, watch in outputs:
            stack.enter_context(_behind(module, watch))
        yield


def _before_call(module: nn.Module, call: Callable[[], None]) -> RemovableHandle:
    return module.register_forward_pre_hook(lambda *_: call())


def _before(module: nn.Module, watch: Watch) -> RemovableHandle:
    def hook(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        changed = watch(given[0])
        return None if changed is None else (changed, *given[1:])

    return module.register_forward_pre_hook(hook)


def _behind(module: nn.Module, watch: Watch) -> RemovableHandle:
    return module.register_forward_hook(lambda _module, _inputs, output: watch(output))
