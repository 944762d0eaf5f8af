"""Models of transformers whose layers have shapes of their own, as edgelm prunes them: encoders, and models that write.

This file lies beside a compressed checkpoint, whose config.json says each shape under `edgelm_layers`, if there are
any: a T5 with fewer layers in its encoder than in its decoder needs it for its cache alone. It needs torch
and transformers alone: `AutoModel.from_pretrained(folder, trust_remote_code=True)`, or the auto class of the model's
task, builds the model by it. A removed attention or feed-forward network leaves the bias that it always added.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import transformers
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache

COLUMNS = "head_columns"
HALVES, HALVED = "halves", "times_halved"  # of a layer: it gives on half as many tokens; so often those that it reads
EXIT, LEAVES, _EARLY, _READ = "exit", "leaves", "early_logits", "mask_of_text"  # of layers that texts leave behind
_ARGUMENT, _PLACE = "position_bias", 2  # of the attention's forward
_BIASED = "has_relative_attention_bias"  # that T5's attentions have, which give the bias on to the next layer
_LEAST_SHARE = 0.5  # of two tokens that is no padding, if any is
_BIAS_SETTINGS = ("relative_attention_num_buckets", "relative_attention_max_distance", "is_decoder")


class AbsentOutput(nn.Linear):
    """An output projection without inputs, (hidden, 0): it gives its bias to every token, whatever comes in."""

    def __init__(self, bias: torch.Tensor) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = 0, len(bias)
        self.weight = nn.Parameter(bias.new_empty(len(bias), 0))
        self.bias = nn.Parameter(bias.detach().clone())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(hidden,), which the residual addition spreads over (batch, tokens, hidden)."""
        return self.bias


class AbsentAttention(nn.Module):
    """An attention without heads, with the names of the one that it stands for: (batch, tokens, hidden) goes through
    unread.

    Args:
        attention: the module that was there.
        projections: names of its query, key and value, and of the output projection where that lies inside.
        output: whether the last of them is the output projection.
        head_size: attribute that holds the width of a head.
        norm: name of the norm inside that the sum of input and result goes through; None: there is none inside.
    """

    def __init__(
        self,
        attention: nn.Module,
        projections: tuple[str, ...],
        *,
        output: bool,
        head_size: str,
        norm: str | None = None,
    ) -> None:
        super().__init__()
        self.projections = list(projections)
        self.options = {"output": output, "head_size": head_size, "norm": norm}
        for name in projections:
            self.add_module(name, attention.get_submodule(name))
        self._output = projections[-1] if output else None
        self._norm = norm
        if norm is not None:
            self.add_module(norm, attention.get_submodule(norm))
        for name in (head_size, "layer_idx", _BIASED):
            if hasattr(attention, name):
                setattr(self, name, getattr(attention, name))
        if getattr(self, _BIASED, False):
            self.add_module("relative_attention_bias", attention.get_submodule("relative_attention_bias"))
        if hasattr(self, _BIASED):
            self.own_class: Any = type(attention)
            for name in (*_BIAS_SETTINGS, "_relative_position_bucket"):
                setattr(self, name, getattr(attention, name))

    def compute_bias(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """T5's bias by distance, of all heads of the uncut model, which its first layer gives to the others."""
        bias: torch.Tensor = self.own_class.compute_bias(self, *arguments, **options)
        return bias

    def forward(self, hidden_states: torch.Tensor, *_: Any, **given: Any) -> tuple[Any, ...]:
        """What the output projection is given, or its result, or the norm of its sum with the input; the bias by
        distance, where layers hand that on; and no attention weights."""
        result = hidden_states if self._output is None else self.get_submodule(self._output)(hidden_states)
        if self._norm is not None:
            result = self.get_submodule(self._norm)(hidden_states + result)
        cache = given.get("cache", given.get("past_key_values"))
        bias = whole_bias(self, hidden_states, given.get(_ARGUMENT), cache)
        if cache is not None and given.get("key_value_states") is None:
            # The length of the text so far is read from the cache, of whatever layer: a number a token keeps it true.
            states = hidden_states.new_zeros(len(hidden_states), 1, hidden_states.shape[1], 1)
            getattr(cache, "self_attention_cache", cache).update(states, states, self.layer_idx)
        return (result, bias, None) if hasattr(self, _BIASED) else (result, None)


def whole_bias(attention: Any, hidden_states: torch.Tensor, bias: torch.Tensor | None, cache: Any) -> Any:
    """What T5 adds to the scores of all heads of the uncut model: as the layer before gave it, or computed."""
    if bias is not None or not getattr(attention, _BIASED, False):
        return bias
    past = 0 if cache is None else cache.get_seq_length(attention.layer_idx)
    length = hidden_states.shape[1]
    return attention.compute_bias(length, past + length, device=hidden_states.device, past_seen_tokens=past)


def set_columns(attention: nn.Module, columns: torch.Tensor) -> None:
    """Let an attention read these columns of the table."""
    if not has_columns(attention):
        attention.register_forward_pre_hook(_select, with_kwargs=True)
        if hasattr(attention, _BIASED):
            attention.register_forward_hook(_give_on)
    attention.register_buffer(COLUMNS, columns.detach().clone())


def has_columns(attention: nn.Module) -> bool:
    """Whether an attention reads columns of its own."""
    return COLUMNS in dict(attention.named_buffers(recurse=False))


def _select(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    columns = module.get_buffer(COLUMNS)
    if hasattr(module, _BIASED):
        states = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        bias = whole_bias(module, states, kwargs.get(_ARGUMENT), cache)
        object.__setattr__(module, "whole_bias", bias)
        return args, kwargs | {_ARGUMENT: None if bias is None else bias.index_select(1, columns)}
    if kwargs.get(_ARGUMENT) is not None:
        return args, kwargs | {_ARGUMENT: kwargs[_ARGUMENT].index_select(1, columns)}
    if len(args) > _PLACE and args[_PLACE] is not None:
        args = (*args[:_PLACE], args[_PLACE].index_select(1, columns), *args[_PLACE + 1 :])
    return args, kwargs


def _give_on(module: nn.Module, _: Any, output: tuple[Any, ...]) -> tuple[Any, ...]:
    """The next layer is given the bias of all heads, not of those that this one kept."""
    whole = module.__dict__.pop("whole_bias")
    return (output[0], whole, *output[2:])


def halve(states: torch.Tensor, real: torch.Tensor | None = None) -> torch.Tensor:
    """Leave the first token as it is, and of each two that follow their mean; a last one without another stays.

    This is the pooling of Funnel-Transformer (Dai et al., arXiv:2006.03236), with the first token aside.

    Args:
        states: (batch, tokens, width).
        real: (batch, tokens), 1 for tokens and 0 for padding, which takes no part; None: there is none.

    Returns:
        (batch, tokens // 2 + 1, width).
    """
    if real is not None:
        weights = real.to(states.dtype).unsqueeze(-1)
        return halve(states * weights) / halve(weights).clamp(min=_LEAST_SHARE)
    pooled = nn.functional.avg_pool1d(states.transpose(1, 2), 2, stride=2, padding=1, count_include_pad=False)
    return pooled.transpose(1, 2)


def left_tokens(real: torch.Tensor) -> torch.Tensor:
    """(batch, tokens // 2 + 1): where `halve` leaves anything but padding, by where that was before."""
    return halve(real.to(torch.float32).unsqueeze(-1)).squeeze(-1) > 0


def set_halving(layers: Sequence[nn.Module], after: Collection[int]) -> None:
    """Let these of the layers of a model, by their numbers from 0, give on half as many tokens, and no others."""
    halved = 0
    for number, layer in enumerate(layers):
        if number in after or halved or hasattr(layer, HALVED):
            if not hasattr(layer, HALVED):
                layer.register_forward_pre_hook(_read_halved, with_kwargs=True)
                layer.register_forward_hook(_give_half, with_kwargs=True)
            vars(layer)[HALVES], vars(layer)[HALVED] = number in after, halved
        halved += number in after


def halves(layer: nn.Module) -> bool:
    """Whether a layer gives on half as many tokens as it reads."""
    return bool(getattr(layer, HALVES, False))


def _mask_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """What a layer is given as (batch, 1, queries, keys), of which 0 or true lets a key be seen."""
    mask: torch.Tensor | None = kwargs["attention_mask"] if "attention_mask" in kwargs else (*args, None)[1]
    return mask


def _real(mask: torch.Tensor) -> torch.Tensor:
    """(batch, keys): whether each token can be seen."""
    first = mask[:, 0, 0]
    return first if first.dtype == torch.bool else first >= 0


def _read_halved(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """A layer behind one that halves is given the mask of the tokens that are left."""
    mask, times = _mask_of(args, kwargs), getattr(module, HALVED)
    if mask is None or not times:
        return None
    real = _real(mask)
    for _ in range(times):
        real = left_tokens(real)
    seen = real[:, None, None]
    lowest = 0 if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
    changed = seen if mask.dtype == torch.bool else mask.new_zeros(seen.shape).masked_fill(~seen, lowest)
    if "attention_mask" in kwargs:
        return args, kwargs | {"attention_mask": changed}
    return (args[0], changed, *args[2:]), kwargs


def _give_half(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor) -> Any:
    if not getattr(module, HALVES):
        return None
    mask = _mask_of(args, kwargs)
    return halve(output, None if mask is None else _real(mask))


def add_exits(model: Any, thresholds: Mapping[str, float]) -> None:
    """Let texts leave a classifier behind these layers, by their paths in the base model: each gets a head that reads
    the mean of the tokens (in early layers the first one knows little as yet). Outside training, the answer is that of
    the first head whose largest logit is further above the next than its threshold, and else the model's own (as
    DeeBERT, Xin et al., arXiv:2004.12993, by entropy)."""
    if not any(hasattr(layer, EXIT) for layer in model.base_model.modules()):
        model.register_forward_pre_hook(_note_mask, with_kwargs=True)
        model.register_forward_hook(_answer_early)
    for path, threshold in thresholds.items():
        layer = model.base_model.get_submodule(path)
        if not hasattr(layer, EXIT):
            head = nn.Linear(model.config.hidden_size, model.config.num_labels)
            layer.add_module(EXIT, head.to(next(layer.parameters())))
            layer.register_forward_hook(_ask_exit)
        vars(layer)[LEAVES] = threshold


def leaves(layer: nn.Module) -> float | None:
    """The threshold of a layer's exit; None: it has none."""
    return vars(layer).get(LEAVES)


def _note_mask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    mask = kwargs["attention_mask"] if "attention_mask" in kwargs else (*args, None, None)[1]
    for layer in module.modules():
        if hasattr(layer, EXIT):
            vars(layer)[_READ] = mask


def _ask_exit(module: nn.Module, _: Any, output: Any) -> None:
    states, mask = output[0] if isinstance(output, tuple) else output, getattr(module, _READ, None)
    weights = (torch.ones_like(states[..., 0]) if mask is None else mask.to(states.dtype)).unsqueeze(-1)
    if hasattr(module, EXIT):
        said = module.get_submodule(EXIT)((states * weights).sum(dim=1) / weights.sum(dim=1))
        vars(module).update({} if module.training else {_EARLY: said})


def _answer_early(module: nn.Module, _: Any, output: Any) -> Any:
    layers = [layer for layer in module.modules() if _EARLY in vars(layer)]
    if not layers:  # training, which may run a layer again, and read the mask then
        return None
    given = list(output.values() if isinstance(output, dict) else output)
    place = next(number for number, each in enumerate(given) if each.ndim == 2)  # the logits: a loss is one number
    for layer in reversed(layers):
        early, _ = vars(layer).pop(_EARLY), vars(layer).pop(_READ, None)
        largest, following = early.topk(2).values.split(1, dim=-1)
        given[place] = torch.where(largest - following > getattr(layer, LEAVES), early, given[place])
    return type(output)(**dict(zip(output, given, strict=True))) if isinstance(output, dict) else tuple(given)


def resize(base: nn.Module, layers: dict[str, Any]) -> None:
    """Give the parts of a model the sizes that `edgelm_layers` says, in place.

    Args:
        base: the model, without a head.
        layers: by path in the model: `linear`, the inputs and outputs of linear layers; `counts`, numbers that
            modules keep; `columns`, how many of a table of all heads an attention reads; `gone`, norms that nothing
            reads any more; `norms`, those of layers that were not the first once; `biases`, linear layers that got
            one; `tables`, rows and columns of embeddings; `absent`, the attentions that are gone, with the names of
            their projections; `halves`, of each layer whether it gives on half as many tokens, by its path;
            `exits`: see `add_exits`.
    """
    for path, (size, epsilon, biased) in layers["norms"].items():
        base.set_submodule(path, nn.LayerNorm(size, eps=epsilon, bias=biased))
    for path, (rows, width) in layers["tables"].items():
        base.set_submodule(path, nn.Embedding(rows, width))
    for path in layers["biases"]:
        biasless: Any = base.get_submodule(path)
        biasless.bias = nn.Parameter(biasless.weight.new_zeros(biasless.out_features))
    for path, (inputs, outputs) in layers["linear"].items():
        linear: Any = base.get_submodule(path)
        if hasattr(linear, "nf"):  # Conv1D, whose weight is (in, out)
            linear.nx, linear.nf = inputs, outputs
            linear.weight = nn.Parameter(linear.weight.new_zeros(inputs, outputs))
        else:
            linear.in_features, linear.out_features = inputs, outputs
            linear.weight = nn.Parameter(linear.weight.new_zeros(outputs, inputs))
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias.new_zeros(outputs))
        if inputs == 0:
            base.set_submodule(path, AbsentOutput(linear.get_parameter("bias")))
    for path, counts in layers["counts"].items():
        for name, count in counts.items():
            setattr(base.get_submodule(path), name, count)
    for path, count in layers["columns"].items():
        set_columns(base.get_submodule(path), torch.arange(count))
    for path in layers["gone"]:
        base.set_submodule(path, nn.Identity())
    for path, absent in layers["absent"].items():
        attention = base.get_submodule(path)
        base.set_submodule(path, AbsentAttention(attention, tuple(absent["projections"]), **absent["options"]))
    halving = layers.get("halves", {})
    set_halving([base.get_submodule(path) for path in halving], {n for n, each in enumerate(halving.values()) if each})


def growing(cache: Any) -> Any:
    """A cache of an encoder-decoder that takes as many layers as write to it: transformers makes as many as T5's
    encoder has, though the decoder writes. Any other value as it is."""
    if not isinstance(cache, EncoderDecoderCache) or type(cache.self_attention_cache) is not DynamicCache:
        return cache
    return EncoderDecoderCache(DynamicCache(), DynamicCache())


def __getattr__(name: str) -> Any:
    """The class of transformers of this name, which resizes its layers when it is built."""
    known: Any = getattr(transformers, name, None)
    if not isinstance(known, type) or not issubclass(known, transformers.PreTrainedModel):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def build(self: Any, config: Any, *arguments: Any, **options: Any) -> None:
        super(made, self).__init__(config, *arguments, **options)
        if getattr(config, "edgelm_layers", None):
            resize(self.base_model, config.edgelm_layers)
            if self.base_model is not self and config.edgelm_layers.get("exits"):
                add_exits(self, config.edgelm_layers["exits"])

    def prepare_cache(self: Any, generation_config: Any, model_kwargs: dict[str, Any], *more: Any, **named: Any) -> Any:
        given = {entry for entry, value in model_kwargs.items() if value is not None}
        result = super(made, self)._prepare_cache_for_generation(generation_config, model_kwargs, *more, **named)
        for entry in model_kwargs.keys() - given:
            model_kwargs[entry] = growing(model_kwargs[entry])
        return result

    parts = {"__init__": build, "_prepare_cache_for_generation": prepare_cache}
    made: Any = type(name, (known,), parts | {"__module__": __name__, "__doc__": known.__doc__})
    globals()[name] = made
    return made
