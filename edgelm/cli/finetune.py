"""`edgelm finetune`: a teacher from a pretrained encoder, or a generator for a use of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from edgelm.choices import Optimizer, Schedule, TrainPrecision
from edgelm.cli.command import argument, columns, options, unused
from edgelm.cli.console import open_screen
from edgelm.cli.given import check_given
from edgelm.cli.options import (
    TASK_NAMES,
    FirstLabel,
    Json,
    LabelColumn,
    LabelFormat,
    MissingLabel,
    Overwrite,
    PairColumn,
    Problem,
    Quiet,
    ReportTo,
    SkipBadRows,
    TextColumn,
    Verbose,
)
from edgelm.cli.panels import ROWS, TRAINING
from edgelm.cli.tables import metrics_line
from edgelm.model_folder.task_names import kind_of_name
from edgelm.tracking import report_to


def finetune(
    backbone: Annotated[str, typer.Argument(help="Folder or hub id of a pretrained encoder or generator.")],
    data: Annotated[
        str,
        typer.Option(
            "--data", help="Training rows: CSV, TSV, JSON lines, Parquet, a text, a folder or hub id (@split)."
        ),
    ],
    evaluation: Annotated[str, typer.Option("--eval", help="Rows to judge by; never trained on.")],
    output: Annotated[Path, typer.Option("--output", help="Folder for the checkpoint.")],
    task: Annotated[
        str,
        typer.Option(
            "--task",
            metavar=TASK_NAMES,
            help="What the model is for; Optimum's names are known too.",
            callback=kind_of_name,
        ),
    ] = "text-classification",
    epochs: Annotated[float, typer.Option(help="Passes over the training rows.", rich_help_panel=TRAINING)] = 3.0,
    max_steps: Annotated[
        int | None, typer.Option(help="Stop after this many steps, whatever --epochs says.", rich_help_panel=TRAINING)
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Rows in one batch.", rich_help_panel=TRAINING)] = 32,
    gradient_accumulation: Annotated[
        int, typer.Option(help="Batches that make one step.", rich_help_panel=TRAINING)
    ] = 1,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", "--lr", help="Highest learning rate.", rich_help_panel=TRAINING)
    ] = 5e-5,
    optimizer: Annotated[Optimizer, typer.Option(help="What takes the steps.", rich_help_panel=TRAINING)] = "adamw",
    schedule: Annotated[
        Schedule, typer.Option(help="Of the learning rate, after the warm-up.", rich_help_panel=TRAINING)
    ] = "linear",
    warmup: Annotated[
        float, typer.Option(help="Share of the steps in which the learning rate rises.", rich_help_panel=TRAINING)
    ] = 0.06,
    weight_decay: Annotated[float, typer.Option(help="Weight decay (not with adam).", rich_help_panel=TRAINING)] = 0.01,
    train_precision: Annotated[
        TrainPrecision,
        typer.Option(
            "--train-precision",
            help="Arithmetic of training; bf16 and fp16 are mixed precision, auto takes what the machine has.",
            rich_help_panel=TRAINING,
        ),
    ] = "fp32",
    max_length: Annotated[
        int | None,
        typer.Option(
            help="Longest text, in tokens. Default: 128, or what the model takes if less.", rich_help_panel=ROWS
        ),
    ] = None,
    early_stopping: Annotated[
        int | None, typer.Option(help="Stop after this many evaluations without progress.", rich_help_panel=TRAINING)
    ] = None,
    evaluations: Annotated[
        int, typer.Option(help="Evaluations in one epoch; the best state is kept.", rich_help_panel=TRAINING)
    ] = 1,
    seed: Annotated[int, typer.Option(help="Of all random numbers.", rich_help_panel=TRAINING)] = 0,
    tensorboard: Annotated[
        Path | None,
        typer.Option(help="Write TensorBoard logs to this folder (--report-to chooses one).", rich_help_panel=TRAINING),
    ] = None,
    text_column: TextColumn = None,
    pair_column: PairColumn = None,
    label_column: LabelColumn = None,
    label_format: LabelFormat = None,
    first_label: FirstLabel = None,
    missing_label: MissingLabel = None,
    skip_bad_rows: SkipBadRows = False,
    problem: Problem = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle", help="Accept pytorch_model.bin (only its weights are loaded).", rich_help_panel=ROWS
        ),
    ] = False,
    allow_new_head: Annotated[
        bool,
        typer.Option(
            "--allow-new-head",
            help="Replace a head that is missing from the folder, or that has other labels.",
            rich_help_panel=ROWS,
        ),
    ] = False,
    lora: Annotated[
        int | None,
        typer.Option(
            "--lora", help="Train with LoRA matrices of this rank, merged in the end.", rich_help_panel=TRAINING
        ),
    ] = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", help='Stands before every source, such as "summarize: " (T5).', rich_help_panel=ROWS),
    ] = None,
    overwrite: Overwrite = False,
    report: ReportTo = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a classifier on a pretrained encoder, or a generator. The same command goes on where it was interrupted.

    Example: edgelm finetune ./all-MiniLM-L6-v2 --data train.jsonl --eval dev.jsonl --output build/teacher
    """
    trackers = [*(report or ()), *(("tensorboard",) if tensorboard is not None else ())]
    with (
        open_screen(as_json=as_json, quiet=quiet, verbose=verbose, shared=True) as screen,
        report_to(*trackers, output=output, logs=tensorboard),
    ):
        screen.begin("imports and rows")
        from edgelm.cli.inputs import read_columns, read_problem, read_schema, read_settings, read_train_and_eval
        from edgelm.files.output import check_output
        from edgelm.files.output_kinds import CHECKPOINT
        from edgelm.tasks.table import TASKS
        from edgelm.training_settings import TrainSettings

        schema = read_schema(task)
        check_output(output, overwrite=overwrite, kind=CHECKPOINT)
        check_given(backbone, data=(data, evaluation))
        settings = read_settings(
            TrainSettings,
            names={"precision": "--train-precision"},
            epochs=epochs,
            max_steps=max_steps,
            batch_size=batch_size,
            gradient_accumulation=gradient_accumulation,
            learning_rate=learning_rate,
            optimizer=optimizer,
            schedule=schedule,
            warmup=warmup,
            weight_decay=weight_decay,
            precision=train_precision,
            **({} if max_length is None else {"max_length": max_length}),
            early_stopping=early_stopping,
            evaluations=evaluations,
        )
        named = read_columns(
            text_column,
            pair_column,
            label_column,
            label_format=label_format,
            first_label=first_label,
            missing_label=missing_label,
            skip_bad_rows=skip_bad_rows,
        )
        dataset, judged = read_train_and_eval(
            data,
            evaluation,
            columns=named,
            problem=read_problem(problem),
            need_labels=not TASKS[task].own_targets,
            schema=schema,
            screen=screen,
        )

        from edgelm.compress.finetune import finetune as train

        result = train(
            backbone,
            dataset=dataset,
            evaluation=judged,
            output=output,
            kind=task,
            settings=settings,
            seed=seed,
            overwrite=overwrite,
            allow_pickle=allow_pickle,
            allow_new_head=allow_new_head,
            lora=lora,
            prefix=prefix,
            progress=screen.progress,
        )
        screen.result(result.to_dict(), _draw)
        if result.chance is not None and not result.chance.better:
            screen.note(
                f"Warning: {result.chance.finding}\nCheck the columns (--text-column, --label-column), the labels and "
                "--learning-rate."
            )
        if TASKS[task].generates:  # which is not made smaller
            bundle = {"--device": "cpu", "--output": unused(output.with_name(f"{output.name}.edge"))}
            screen.next_step(str(output), "export", argument(output), *options(bundle))
            return
        rows = {"--data": data, "--eval": evaluation} | columns(named)
        made = {"--recipe": "balanced", "--output": unused(output.with_name("compressed"))}
        length = {"--max-length": max_length}
        screen.next_step(str(output), "compress", argument(output), *options(rows | length | made))


def _draw(console: Console, values: dict[str, Any]) -> None:
    task = values["record"]["task"]
    what = f"{len(task['labels'])} labels" if task.get("labels") else task["kind"]
    console.print(f"Fine-tuned {values['parameters'] / 1e6:.1f}M weights for {what} in {values['seconds']:.0f} s.")
    console.print(f"On the evaluation rows: {metrics_line(values['metrics'])}.")
