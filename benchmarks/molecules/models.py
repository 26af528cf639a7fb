"""All that is compared, by name."""

from benchmarks.molecules.baselines import Linear, Mean
from benchmarks.molecules.batches import Packed, Padded
from benchmarks.molecules.networks import message_passing, transformer
from benchmarks.molecules.training import Trained

MODELS = {
    "mean": Mean(),
    "linear": Linear(),
    "message passing": Trained(
        network=message_passing,
        batches=Packed,
        steps=3,
        epochs=40,
        rate=2e-3,
    ),
    "transformer": Trained(
        network=transformer,
        batches=Padded,
        steps=2,
        epochs=40,
        rate=3e-3,
    ),
}
