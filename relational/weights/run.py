"""From an imported model to the folder of a run, which the commands can use."""

from collections.abc import Sequence
from pathlib import Path

from relational import specs, training
from relational.models.text_data import SUBWORDS
from relational.weights.load import Imported

_PAPERS = {
    "gpt2": "Radford et al. 2019, Language models are unsupervised multitask learners",
    "bert": "Devlin et al. 2019, BERT",
    "t5": "Raffel et al. 2020, Exploring the limits of transfer learning (T5)",
    "marian": "Junczys-Dowmunt et al. 2018, Marian, a Transformer of Vaswani et al. 2017",
}

_STEPS, _BATCH, _RATE = (
    1000,
    16,
    1e-4,
)  # Of a training that goes on; settings change them.


def spec_of(imported: Imported, settings: Sequence[str] = ()) -> specs.Spec:
    """Returns a whole spec for an imported model.

    With a vocabulary that is known here its data are pairs of sentences, in files that
    need only be there for a training; otherwise there are none.

    Args:
      imported: the model.
      settings: changes, as `specs.override` takes them.

    >>> from relational import specs
    >>> model = specs.load("multi30k_absolute").model
    >>> imported = Imported(kind="marian", spec=model, params={}, ignored=())
    >>> spec = spec_of(imported, ["training.steps=9"])
    >>> spec.data, spec.training.steps
    (NoDataSpec(), 9)
    """
    data: specs.DataSpec = specs.NoDataSpec()
    if imported.subwords is not None:
        from relational.datasets import vocabulary_of

        data = specs.ParallelTextSpec(
            train=("train.source", "train.target"),
            validation=("validation.source", "validation.target"),
            vocabulary=vocabulary_of(imported.subwords).size,
        )
    spec = specs.Spec(
        name=imported.kind,
        source=f"{_PAPERS[imported.kind]}; imported from Hugging Face's files, weights and "
        "all.",
        model=imported.spec,
        data=data,
        training=specs.TrainingSpec(
            steps=_STEPS,
            batch_size=_BATCH,
            schedule=specs.ConstantSpec(rate=_RATE),
        ),
    )
    return specs.override(spec, list(settings))


def write_run(
    imported: Imported, folder: Path | str, settings: Sequence[str] = ()
) -> specs.Spec:
    """Makes the folder of a run that holds an imported model, and returns its spec.

    `training.load` reads it. With a vocabulary that is known here, `relational
    translate`, `relational score` and `relational train` go on with it.

    Args:
      imported: the model.
      folder: a new folder.
      settings: changes of the spec: files to train on, steps, the rate.

    Raises:
      ValueError: the folder is in use, or a setting is wrong or changes the model.

    >>> import jax, jax.numpy as jnp, tempfile
    >>> from relational import models, specs, training
    >>> model = specs.load("demo").model
    >>> names = ["token", "voice", "beat", "pitch", "onset"]
    >>> inputs = {"token": {name: jnp.zeros((1, 1), int) for name in names}}
    >>> params = jax.jit(models.build(model).init)(jax.random.key(0), inputs)
    >>> imported = Imported(kind="gpt2", spec=model, params=params, ignored=())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spec = write_run(imported, folder)
    ...     training.load(folder).position.step
    0
    """
    spec = spec_of(imported, settings)
    if spec.model != imported.spec:
        raise ValueError(
            "`settings` must leave the model as it is, whose weights are there; they "
            "change it. Change `data` and `training`."
        )
    subwords = imported.subwords
    kept = {} if subwords is None else {SUBWORDS: subwords}
    training.begin(imported.params, spec, folder, kept=kept)
    return spec
