"""Runs a stack of a model layer by layer over many batches, so that a layer is computed once for what comes before it,
however often what it is given is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from edgelm.anatomy import Layer, TaskModel
from edgelm.anatomy.hooks import Watch, watching
from edgelm.compress.batches import Batch

Watched = Callable[[int], Sequence[tuple[nn.Module, Watch]]]


class Reached(Exception):
    """Raised by a function of `watching` to stop a model there."""


class StackWalk:
    """A place in a stack, between two layers, with the states of all batches there.

    What else layers are given (masks, positions, an encoder's output) is recorded in one run of the whole model. It
    must not depend on the layers of the stack.

    Attributes:
        number: of the layer that comes next.
        states: of each batch what that layer reads, (batch, tokens, hidden).
    """

    def __init__(self, model: TaskModel, batches: Sequence[Batch], layers: Sequence[Layer]) -> None:
        """Run the model up to the stack.

        Args:
            layers: of the stack, all of them.
        """
        self.number = 0
        self.states: list[torch.Tensor] = []
        self._layers = [layer.root for layer in layers]
        self._given: list[list[tuple[tuple[Any, ...], dict[str, Any]]]] = []
        for batch in batches:
            self._begin(model, batch)

    def _begin(self, model: TaskModel, batch: Batch) -> None:
        given: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def record(layer: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
            if layer is self._layers[0]:
                self.states.append(args[0] if args else options["hidden_states"])
            given.append((args[1:], {name: value for name, value in options.items() if name != "hidden_states"}))
            if layer is self._layers[-1]:
                raise Reached

        hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in self._layers]
        try:
            with torch.inference_mode(), suppress(Reached):
                model.run(batch)
        finally:
            for hook in hooks:
                hook.remove()
        self._given.append(given)

    def look(self, inputs: Watched) -> None:
        """Run the next layer for every batch, up to where a function raises `Reached`; the place stays.

        Args:
            inputs: for the number of a batch, modules and what is told of their inputs, as `watching` takes them.
        """
        for batch in range(len(self.states)):
            with watching(inputs=inputs(batch)), suppress(Reached):
                self._run(batch)

    def advance(self, inputs: Watched = lambda _: (), outputs: Watched = lambda _: ()) -> None:
        """Go past the next layer, and see what modules of it are given and give."""
        for batch in range(len(self.states)):
            with watching(inputs=inputs(batch), outputs=outputs(batch)):
                self.states[batch] = self._run(batch)
        self.number += 1

    def _run(self, batch: int) -> torch.Tensor:
        args, options = self._given[batch][self.number]
        with torch.inference_mode():
            found = self._layers[self.number](self.states[batch], *args, **options)
        return found[0] if isinstance(found, tuple) else found


def stack_ranges(stacks: Sequence[str]) -> Iterator[range]:
    """The layers of each stack, by their numbers.

    Args:
        stacks: of each layer.
    """
    begin = 0
    for number in range(1, len(stacks) + 1):
        if number == len(stacks) or stacks[number] != stacks[begin]:
            yield range(begin, number)
            begin = number
