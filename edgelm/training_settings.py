"""What recipes say of training: how weights are trained, and what a student is taught by."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edgelm.choices import Optimizer, Schedule, TrainPrecision

Share = Annotated[float, Field(gt=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class Settings(BaseModel):
    """Base of all settings: frozen, and unknown keys are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainSettings(Settings):
    """How weights are trained.

    `epochs` counts passes over the data; `max_steps`, where given, ends training earlier or later. `dropout` None: as
    the model has it. `precision` auto: bf16 where the GPU or the processor computes in it, else fp32. `lora` trains
    thin matrices of this rank beside the model's own, which they are added to in the end; None: all weights.
    `gradient_checkpointing` keeps the inputs of layers alone and computes the rest again for the gradients: less memory
    for a third more time.
    """

    epochs: Annotated[float, Field(gt=0)] = 3
    max_steps: Annotated[int, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(gt=0)] = 32
    gradient_accumulation: Annotated[int, Field(gt=0)] = 1
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-5
    optimizer: Optimizer = "adamw"
    schedule: Schedule = "linear"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.06
    weight_decay: Weight = 0.01
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    precision: TrainPrecision = "fp32"
    max_length: Annotated[int, Field(ge=8)] = 128
    early_stopping: Annotated[int, Field(gt=0)] | None = None
    evaluations: Annotated[int, Field(gt=0)] = 1
    lora: Annotated[int, Field(gt=0)] | None = None
    gradient_checkpointing: bool = False


class WrittenSettings(Settings):
    """The teacher writes the targets that the student learns (sequence-level distillation, Kim and Rush 2016).

    `method` None: by the settings of the model. `num_beams` is for beam, `temperature` and `top_p` for sample;
    `max_new_tokens` None: as the model's settings say. A plain text without an answer begins with its first
    `prompt_tokens` tokens, and goes on as the teacher writes.
    """

    method: Literal["greedy", "beam", "sample"] | None = None
    num_beams: Annotated[int, Field(gt=1)] = 4
    temperature: Annotated[float, Field(gt=0)] = 1.0
    top_p: Share = 1.0
    max_new_tokens: Annotated[int, Field(gt=0)] | None = None
    prompt_tokens: Annotated[int, Field(gt=0)] = 16


class OnPolicySettings(Settings):
    """In a `share` of the batches the student writes behind the prompts, and learns what the teacher would have written
    at each place (GKD).

    It samples at `temperature`, `max_new_tokens` tokens at most; of a plain text the first `prompt_tokens` tokens are
    the prompt.
    """

    share: Share = 0.5
    temperature: Annotated[float, Field(gt=0)] = 1.0
    max_new_tokens: Annotated[int, Field(gt=0)] = 64
    prompt_tokens: Annotated[int, Field(gt=0)] = 16


class DistillLoss(Settings):
    """What a student is taught by: teacher's logits, labels, hidden states, and attention relations.

    `soft`, `hard`, `hidden` and `relations` weigh the four losses; `temperature` softens the logits. `matching` says
    which layers' hidden states are compared: student's and teacher's at equal depth (uniform, TinyBERT), or those that
    are closest in each batch (dynamic, CoFi). Relations are those of the student's last layer and the teacher's
    `relation_layer` (from 0; None: the last), over as many heads as divide both widths, `relation_heads` at most
    (MiniLMv2).

    `divergence` is how far the student's distribution is from the teacher's: forward-kl takes the mean over what the
    teacher finds likely, reverse-kl over what the student does, jensen-shannon is between the two (GKD), the nearer to
    the forward one the smaller `mixture`. Of models that write: `top_k` of the teacher's logits for each token are kept
    on disk where rows are read at least twice; `written` lets the teacher write the targets, `on_policy` the student
    what the teacher corrects.
    """

    temperature: Annotated[float, Field(gt=0)] = 2.0
    divergence: Literal["forward-kl", "reverse-kl", "jensen-shannon"] = "forward-kl"
    mixture: Annotated[float, Field(gt=0, lt=1)] = 0.5
    top_k: Annotated[int, Field(gt=0)] = 64
    written: WrittenSettings | None = None
    on_policy: OnPolicySettings | None = None
    soft: Weight = 0.9
    hard: Weight = 0.1
    hidden: Weight = 1.0
    matching: Literal["uniform", "dynamic"] = "uniform"
    relations: Weight = 0.0
    relation_heads: Annotated[int, Field(gt=0)] = 12
    relation_layer: Annotated[int, Field(ge=0)] | None = None
