"""`python -m benchmarks.translation_in_torch RUN OUT`: the training of RUN, by PyTorch.

The same architecture, made of PyTorch's own Transformer layers (`torch_transformer`),
begins with the same weights as RUN, sees the same batches in the same order, and takes as
many steps with the same rates. OUT becomes the folder of a run with its weights under our
names, so that `relational bleu OUT` decodes and scores it exactly as it does RUN.

Needs the extras `bench` and `text`.
"""

import dataclasses
import pathlib
import time
from typing import Annotated, Any

import jax
import numpy as np
import torch
import typer

from benchmarks.machine import machine
from benchmarks.torch_transformer import Transformer
from relational import specs, training
from relational.models.surprise import smoothed_entropy
from relational.models.text_data import SUBWORDS, ParallelData, kept_vocabulary
from relational.models.translation import START, Translation
from relational.training.checkpoints import Checkpoints
from relational.training.evaluation import Evaluation, ratio
from relational.training.metrics import MetricsFile, evaluation_row
from relational.training.runs import opened, replace
from relational.training.steps import State, initial_state

_NEAR = 1e-4  # Nats a token by which both may differ before the first step.


def main(
    run: Annotated[pathlib.Path, typer.Argument(help="A run of a plain Transformer.")],
    out: Annotated[pathlib.Path, typer.Argument(help="A new folder.")],
    data_source: Annotated[
        pathlib.Path | None, typer.Option("--data", help="The folder of its files.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Stop after so many; all if not given.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Of PyTorch.")] = 1,
) -> None:
    """Trains what RUN trained, once more, with PyTorch."""
    torch.set_num_threads(threads)
    print(machine(), flush=True)
    spec = specs.load(run / "spec.yaml")
    assert isinstance(spec.model, specs.ModelSpec)
    data = ParallelData(
        spec.data,
        batch_size=spec.training.batch_size,
        data_source=None if data_source is None else str(data_source),
        vocabulary=kept_vocabulary(run),
    )
    named = dataclasses.replace(spec, name=f"{spec.name}_in_torch")
    with opened(out, named) as folder:
        if folder.checkpoints.exists():
            raise SystemExit(f"OUT must be a new folder; `{out}` has checkpoints.")
        replace(out / SUBWORDS, data.kept[SUBWORDS])
        with (
            Checkpoints(folder.checkpoints, keep=spec.training.keep) as checkpoints,
            MetricsFile(folder.metrics, auxiliary=(), step=0) as metrics,
        ):
            trainer = _Trainer(spec, data, checkpoints, metrics)
            trainer.run(steps or spec.training.steps)


class _Trainer:
    """PyTorch's model with its optimiser, and what it reads and writes."""

    def __init__(
        self, spec: specs.Spec, data: ParallelData, checkpoints: Any, metrics: Any
    ) -> None:
        how = spec.training
        if how.accumulate != 1 or not isinstance(how.optimizer, specs.AdamSpec):
            raise SystemExit("RUN must have been trained by Adam, a batch a step.")
        self.how, self.data = how, data
        self.checkpoints, self.metrics = checkpoints, metrics
        self.task = Translation(spec.model, label_smoothing=how.label_smoothing)
        self.batches = data.training(how.seed)
        first = data.training(how.seed)
        params = initial_state(self.task, how, next(first)).params
        torch.manual_seed(how.seed)
        self.model = Transformer(spec.model)
        self.model.take(params)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            betas=(how.optimizer.b1, how.optimizer.b2),
            eps=how.optimizer.eps,
        )
        self.best: tuple[int | None, float] = (None, np.inf)
        self._check(params)

    def _check(self, params: Any) -> None:
        """Sees to it that both are the same function, by their losses."""
        ours = training.evaluate(self.task, params, self.data, "validation").loss
        theirs = self._evaluate(0).loss
        print(f"before the first step: {theirs:.6f} nats/token; ours {ours:.6f}")
        if abs(ours - theirs) > _NEAR:
            raise SystemExit("The two models differ.")

    def run(self, steps: int) -> None:
        """Trains up to the last step, and tells the processor time of steps alone."""
        numbers = np.arange(1, self.how.steps + 1)
        rates = np.asarray(training.rate(self.how, numbers))
        nats = norms = seconds = 0.0
        tokens = all_tokens = 0
        all_seconds = 0.0
        for step in range(1, steps + 1):
            batch = next(self.batches)
            began = time.process_time()
            loss, norm = self._step(batch, float(rates[step - 1]))
            seconds += time.process_time() - began
            nats, norms = nats + loss, norms + norm
            tokens += int(batch["target_length"].sum())
            if step % self.how.log_every == 0 or step == steps:
                since = (step - 1) % self.how.log_every + 1
                row = {
                    "step": step,
                    "split": "train",
                    "loss": nats / tokens,
                    "tokens": tokens,
                    "gradient_norm": norms / since,
                    "learning_rate": float(rates[step - 1]),
                }
                self.metrics.write(row)
                all_seconds, all_tokens = all_seconds + seconds, all_tokens + tokens
                print(
                    f"step {step}  loss {nats / tokens:.4f}  "
                    f"{tokens / seconds:,.0f} tokens a second of processor time",
                    flush=True,
                )
                nats = norms = seconds = 0.0
                tokens = 0
            if step % self.how.evaluate_every == 0 or step == steps:
                self._save(step, self._evaluate(step))
        print(f"{all_tokens / all_seconds:,.0f} tokens a second over all {steps} steps")

    def _step(self, batch: Any, rate: float) -> tuple[float, float]:
        """Takes a step; returns nats of all tokens, and the norm of the gradient."""
        self.model.train()
        logits, target = self._said(batch)
        size, smoothing = logits.shape[-1], self.how.label_smoothing
        tokens = int(batch["target_length"].sum())
        # PyTorch shares what it takes among all tokens, we among all others.
        nats = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1),
            target.flatten(),
            ignore_index=START,
            label_smoothing=smoothing * size / (size - 1),
            reduction="sum",
        )
        self.optimizer.zero_grad()
        (nats / tokens).backward()
        most = self.how.clip_norm or np.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), most)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        least = smoothed_entropy(size, smoothing) * tokens
        return nats.item() - least, norm.item()

    def _said(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        source, length, target = (
            torch.from_numpy(np.asarray(batch[name], np.int64))
            for name in ("source", "source_length", "target")
        )
        before = torch.nn.functional.pad(target, (1, -1), value=START)
        return self.model(source, length, before), target

    @torch.no_grad()
    def _evaluate(self, step: int) -> Evaluation:
        self.model.eval()
        found = []
        for batch in self.data.evaluation("validation"):
            is_real = batch["piece"] >= 0
            real = {name: leaf[is_real] for name, leaf in batch.items()}
            logits, target = self._said(real)
            nats = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), target, ignore_index=START, reduction="none"
            )
            found.append(np.stack([nats.sum(1).numpy(), real["target_length"]]))
        nats, tokens = np.concatenate(found, axis=1).astype(np.float64)
        mean, error = ratio(nats, tokens)
        evaluation = Evaluation(
            split="validation",
            loss=mean,
            standard_error=error,
            tokens=round(tokens.sum()),
            pieces=len(tokens),
        )
        self.metrics.write(evaluation_row(step, evaluation))
        print(f"step {step}  validation {mean:.4f} ± {error:.4f}", flush=True)
        return evaluation

    def _save(self, step: int, evaluation: Evaluation) -> None:
        """Keeps the weights as a checkpoint of ours; PyTorch's optimiser is not kept."""
        if evaluation.loss < self.best[1]:
            self.best = (step, evaluation.loss)
        position = training.Position(
            step=step,
            batches=self.batches.get_state(),
            fingerprint=self.data.fingerprint,
            unlogged={},
            validation=evaluation,
            evaluated_step=step,
            best_step=self.best[0],
            best_loss=self.best[1],
        )
        state = State(
            params=jax.device_put(self.model.params()),
            optimizer={"step": jax.numpy.int32(step)},
            step=jax.numpy.int32(step),
        )
        self.checkpoints.save(state, position)


if __name__ == "__main__":
    typer.run(main)
