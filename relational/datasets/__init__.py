if (
    __name__ == "datasets"
):  # The root of the repository links here; that name is not ours.
    raise ImportError(
        "use `import relational.datasets`: `datasets` alone is another's name."
    )

__doc__ = (
    """Chorales, tasks on graphs, citation graphs, molecules and pairs of sentences."""
)

from relational.datasets.baselines import repeat_loss as repeat_loss
from relational.datasets.baselines import repeat_probability as repeat_probability
from relational.datasets.baselines import uniform_loss as uniform_loss
from relational.datasets.chorales import Piece as Piece
from relational.datasets.chorales import is_prepared as is_prepared
from relational.datasets.chorales import load as load
from relational.datasets.graph_metrics import Answers as Answers
from relational.datasets.graph_metrics import answers as answers
from relational.datasets.graph_metrics import constant_velocity as constant_velocity
from relational.datasets.graph_metrics import position_error as position_error
from relational.datasets.graph_metrics import roll_out as roll_out
from relational.datasets.graph_pairs import GraphPair as GraphPair
from relational.datasets.midi import read_midi as read_midi
from relational.datasets.midi import write_midi as write_midi
from relational.datasets.molecules import Molecules as Molecules
from relational.datasets.molecules import Scale as Scale
from relational.datasets.molecules import Split as Split
from relational.datasets.molecules import load_molecules as load_molecules
from relational.datasets.molecules import random_split as random_split
from relational.datasets.molecules import scale_of as scale_of
from relational.datasets.paired_subwords import PairedSubwords as PairedSubwords
from relational.datasets.paired_subwords import paired as paired
from relational.datasets.paired_subwords import vocabulary_of as vocabulary_of
from relational.datasets.parallel_source import Pairs as Pairs
from relational.datasets.parallel_source import read_pairs as read_pairs
from relational.datasets.parallel_text import load_multi30k as load_multi30k
from relational.datasets.pipelines import evaluation as evaluation
from relational.datasets.pipelines import training as training
from relational.datasets.planetoid import Citations as Citations
from relational.datasets.planetoid import load_planetoid as load_planetoid
from relational.datasets.shortest_path import ShortestPath as ShortestPath
from relational.datasets.sorting import Sorting as Sorting
from relational.datasets.spring_roll_outs import Drift as Drift
from relational.datasets.spring_roll_outs import drift as drift
from relational.datasets.spring_roll_outs import free_fall as free_fall
from relational.datasets.spring_roll_outs import starts as starts
from relational.datasets.springs import Springs as Springs
from relational.datasets.subwords import Subwords as Subwords
from relational.datasets.subwords import learn_subwords as learn_subwords
from relational.datasets.tfds_text import load_tfds_pairs as load_tfds_pairs
