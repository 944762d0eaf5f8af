"""What recipes say of the stage `static`, which leaves a vector for each token and no layers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgelm.training_settings import DistillLoss, Settings, TrainSettings


class StaticSettings(Settings):
    """Distil the teacher into a model without layers: a vector for each token, their mean over a text, and a small
    head.

    `width`: of the vectors; they are no wider than the teacher's hidden states. `head`: width of the head's hidden
    layer. `sif`: how soon frequent tokens count less in the mean at the beginning (SIF, Arora et al. 2017), the smaller
    the sooner; null: all count the same. Training then changes vectors, what each token counts, and head.
    """

    stage: Literal["static"] = "static"
    width: Annotated[int, Field(gt=0)] = 256
    head: Annotated[int, Field(gt=0)] = 256
    sif: Annotated[float, Field(gt=0, lt=1)] | None = 1e-3
    loss: DistillLoss = DistillLoss(hidden=0.0)
    train: TrainSettings = TrainSettings(learning_rate=1e-3, batch_size=64, epochs=5, weight_decay=0.0)

    @model_validator(mode="after")
    def _nothing_of_layers(self) -> StaticSettings:
        if self.loss.hidden or self.loss.relations:
            raise ValueError("a model without layers has no hidden states or relations to teach; set both weights to 0")
        if self.train.lora is not None:
            raise ValueError("train.lora is for matrices of layers, and there are none; set it to null")
        return self
