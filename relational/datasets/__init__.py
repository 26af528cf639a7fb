if (
    __name__ == "datasets"
):  # The root of the repository links here; that name is not ours.
    raise ImportError(
        "use `import relational.datasets`: `datasets` alone is another's name."
    )

__doc__ = """Chorales: loaded, serialised, batched, and read and written as MIDI."""

from relational.datasets.baselines import repeat_loss as repeat_loss
from relational.datasets.baselines import repeat_probability as repeat_probability
from relational.datasets.baselines import uniform_loss as uniform_loss
from relational.datasets.chorales import Piece as Piece
from relational.datasets.chorales import is_prepared as is_prepared
from relational.datasets.chorales import load as load
from relational.datasets.midi import read_midi as read_midi
from relational.datasets.midi import write_midi as write_midi
from relational.datasets.pipelines import evaluation as evaluation
from relational.datasets.pipelines import training as training
