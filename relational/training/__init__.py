"""Training: one loop for every model, in a folder from which it can always go on.

Importing this loads neither orbax nor tensorboardX nor matplotlib: they wait for use.
"""

from relational.training.averaging import load_mean as load_mean
from relational.training.averaging import mean_of as mean_of
from relational.training.beginning import begin as begin
from relational.training.evaluation import Evaluation as Evaluation
from relational.training.evaluation import evaluate as evaluate
from relational.training.evaluation import judged as judged
from relational.training.failures import Interrupted as Interrupted
from relational.training.loop import Result as Result
from relational.training.loop import train as train
from relational.training.metrics import read_metrics as read_metrics
from relational.training.optimisers import optimiser as optimiser
from relational.training.optimisers import rate as rate
from relational.training.positions import Position as Position
from relational.training.restoring import Loaded as Loaded
from relational.training.restoring import Which as Which
from relational.training.restoring import load as load
from relational.training.runs import Run as Run
from relational.training.tasks import Batch as Batch
from relational.training.tasks import Batches as Batches
from relational.training.tasks import Data as Data
from relational.training.tasks import Measure as Measure
from relational.training.tasks import Outcome as Outcome
from relational.training.tasks import Params as Params
from relational.training.tasks import Task as Task
from relational.training.tasks import Words as Words
