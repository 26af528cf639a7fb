"""Weights that were trained elsewhere, as models of ours: specs and parameters.

A folder of Hugging Face, with `config.json` and safetensors, becomes a graph: its config
a `ModelSpec`, its tensors the parameters of `models.build`. Reading needs the package
safetensors (the extra `text`), and no other framework.
"""

from relational.weights.load import Imported as Imported
from relational.weights.load import load as load
from relational.weights.run import spec_of as spec_of
from relational.weights.run import write_run as write_run
