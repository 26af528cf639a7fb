"""What any model must beat: the mean, and a linear model of counts.

Shapes: M molecules, D features.
"""

from collections.abc import Callable

import numpy as np

import relational.datasets as data
from benchmarks import kept

Errors = Callable[[int], kept.Row]  # Of the split of a seed.


class Mean:
    """Says the mean of the training targets, whatever the molecule."""

    def over(self, molecules: data.Molecules) -> Errors:
        def errors(seed: int) -> kept.Row:
            split = data.random_split(len(molecules.targets), seed)
            mean = molecules.targets[split.train].mean()
            said = np.full_like(molecules.targets, mean)
            return {**_errors(said, molecules.targets, split), "parameters": 1}

        return errors


class Linear:
    """Ridge regression on how many atoms and bonds of each kind there are.

    Of several strengths of the ridge the one that is best on validation is taken.
    """

    def over(self, molecules: data.Molecules) -> Errors:
        counts = [
            np.concatenate([graph.nodes.sum(0), graph.edges.sum(0) / 2])
            for graph in molecules.graphs
        ]
        counted = np.stack(counts).astype(np.float64)

        def errors(seed: int) -> kept.Row:
            split = data.random_split(len(molecules.targets), seed)
            known = counted[split.train]
            rows = (counted - known.mean(0)) / np.maximum(known.std(0), 1e-6)
            known, mean = rows[split.train], molecules.targets[split.train].mean()
            found = []
            for ridge in 10.0 ** np.arange(-3, 4):
                square = known.T @ known + ridge * np.eye(known.shape[1])
                wanted = molecules.targets[split.train] - mean
                said = mean + rows @ np.linalg.solve(square, known.T @ wanted)
                found.append(_errors(said, molecules.targets, split))
            best = min(found, key=lambda errors: errors["validation"])
            return {**best, "parameters": rows.shape[1] + 1}

        return errors


def _errors(said: np.ndarray, targets: np.ndarray, split: data.Split) -> kept.Row:
    """Returns the root of the mean squared error on each part, in the unit."""
    square = (said - targets) ** 2
    return {
        part: float(np.sqrt(square[getattr(split, part)].mean()))
        for part in ("train", "validation", "test")
    }
