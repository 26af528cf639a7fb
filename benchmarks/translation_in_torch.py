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

_STATE = "torch.pt"  # In OUT: from it a run that was stopped goes on.
_NEAR = 1e-4  # Nats a token by which both may differ before the first step.


def main(
    run: Annotated[pathlib.Path, typer.Argument(help="A run of a plain Transformer.")],
    out: Annotated[
        pathlib.Path, typer.Argument(help="A folder; one that was begun goes on.")
    ],
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
        replace(out / SUBWORDS, data.kept[SUBWORDS])
        kept = out / _STATE
        state = torch.load(kept, weights_only=False) if kept.exists() else None
        with (
            Checkpoints(folder.checkpoints, keep=spec.training.keep) as checkpoints,
            MetricsFile(
                folder.metrics, auxiliary=(), step=state["step"] if state else 0
            ) as metrics,
        ):
            trainer = _Trainer(spec, data, checkpoints, metrics, kept)
            trainer.begin(state)
            trainer.run(steps or spec.training.steps)


@dataclasses.dataclass
class _Sums:
    """What steps have come to since the last row."""

    steps: int = 0
    tokens: int = 0
    nats: float = 0.0
    norms: float = 0.0
    seconds: float = 0.0


class _Trainer:
    """PyTorch's model with its optimiser, and what it reads and writes."""

    def __init__(
        self,
        spec: specs.Spec,
        data: ParallelData,
        checkpoints: Any,
        metrics: Any,
        kept: pathlib.Path,
    ) -> None:
        how = spec.training
        if how.accumulate != 1 or not isinstance(how.optimizer, specs.AdamSpec):
            raise SystemExit("RUN must have been trained by Adam, a batch a step.")
        self.how, self.data = how, data
        self.checkpoints, self.metrics, self.kept = checkpoints, metrics, kept
        self.task = Translation(spec.model, label_smoothing=how.label_smoothing)
        self.batches = data.training(how.seed)
        torch.manual_seed(how.seed)
        self.model = Transformer(spec.model)
        self.optimizer = torch.optim.Adam(
            self.model.parameters(),
            betas=(how.optimizer.b1, how.optimizer.b2),
            eps=how.optimizer.eps,
        )
        self.best: tuple[int | None, float] = (None, np.inf)
        self.step, self.sums, self.all = 0, _Sums(), _Sums()

    def begin(self, state: Any) -> None:
        """Takes the weights that RUN began with, or goes on where this was stopped."""
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            torch.set_rng_state(state["random"])
            self.batches.set_state(state["batches"])
            self.step, self.best = state["step"], state["best"]
            self.sums, self.all = _Sums(**state["sums"]), _Sums(**state["all"])
            print(f"Going on after step {self.step}.")
            return
        first = next(self.data.training(self.how.seed))
        params = initial_state(self.task, self.how, first).params
        self.model.take(params)
        ours = training.evaluate(self.task, params, self.data, "validation").loss
        theirs = self._evaluate().loss
        print(f"before the first step: {theirs:.6f} nats/token; ours {ours:.6f}")
        if abs(ours - theirs) > _NEAR:
            raise SystemExit("The two models differ.")

    def run(self, steps: int) -> None:
        """Trains up to the last step, and tells the processor time of steps alone."""
        numbers = np.arange(1, self.how.steps + 1)
        rates = np.asarray(training.rate(self.how, numbers))
        while self.step < steps:
            batch, rate = next(self.batches), float(rates[self.step])
            began = time.process_time()
            nats, norm = self._step(batch, rate)
            seconds, self.step = time.process_time() - began, self.step + 1
            tokens = int(batch["target_length"].sum())
            for sums in (self.sums, self.all):
                sums.steps, sums.tokens = sums.steps + 1, sums.tokens + tokens
                sums.nats, sums.norms = sums.nats + nats, sums.norms + norm
                sums.seconds += seconds
            if self._is_due(self.how.log_every, steps):
                self._log(rate)
            if self._is_due(self.how.evaluate_every, steps):
                self._save(self._evaluate())
        speed = self.all.tokens / self.all.seconds
        print(f"{speed:,.0f} tokens a second of processor time, over all steps")

    def _is_due(self, every: int, steps: int) -> bool:
        return self.step % every == 0 or self.step == steps

    def _log(self, rate: float) -> None:
        sums, self.sums = self.sums, _Sums()
        loss = sums.nats / sums.tokens
        row = {
            "step": self.step,
            "split": "train",
            "loss": loss,
            "tokens": sums.tokens,
            "gradient_norm": sums.norms / sums.steps,
            "learning_rate": rate,
        }
        self.metrics.write(row)
        speed = sums.tokens / sums.seconds
        print(f"step {self.step}  loss {loss:.4f}  {speed:,.0f} tokens/s", flush=True)

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
    def _evaluate(self) -> Evaluation:
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
        self.metrics.write(evaluation_row(self.step, evaluation))
        print(f"step {self.step}  validation {mean:.4f} ± {error:.4f}", flush=True)
        return evaluation

    def _save(self, evaluation: Evaluation) -> None:
        """Keeps the weights as a checkpoint of ours, and all that is needed to go on."""
        if evaluation.loss < self.best[1]:
            self.best = (self.step, evaluation.loss)
        batches = self.batches.get_state()
        position = training.Position(
            step=self.step,
            batches=batches,
            fingerprint=self.data.fingerprint,
            unlogged={},
            validation=evaluation,
            evaluated_step=self.step,
            best_step=self.best[0],
            best_loss=self.best[1],
        )
        step = jax.numpy.int32(self.step)
        params = jax.device_put(self.model.params())
        # Adam's moments are PyTorch's: they are in its own file.
        state = State(params=params, optimizer={"step": step}, step=step)
        self.checkpoints.save(state, position)
        fresh = self.kept.with_name(f".{self.kept.name}")
        whole = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "batches": batches,
            "step": self.step,
            "best": self.best,
            "sums": dataclasses.asdict(self.sums),
            "all": dataclasses.asdict(self.all),
        }
        torch.save(whole, fresh)
        fresh.replace(self.kept)  # At once, so that a kill leaves nothing half done.


if __name__ == "__main__":
    typer.run(main)
