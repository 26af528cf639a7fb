"""An encoder, one block repeated, and a decoder after every repetition.

The repetitions are one loop, so that their number costs no compile time.
"""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from relational._checks import check_count
from relational.blocks.composition import Block
from relational.blocks.features import changed_shape, features_of, with_all_features
from relational.blocks.joining import side_by_side
from relational.blocks.recurrent import Recurrent


class EncodeProcessDecode(hk.Module):
    """Encode, process several times, decode (Battaglia et al. 2018, section 4.3).

        latent_0 = encode(graph)
        latent_m = core(latent_0 beside latent_(m-1)),      m = 1 ... M
        output_m = decode(latent_m)

    The core is one block; its parameters are shared by all steps, and what was encoded
    comes into every step beside what the last one made, so that nothing is forgotten.
    With a memory, latent_m is what its cells make of the core's graph.

    The loop is compiled whenever it is traced: call the model under `jax.jit`. One step
    after another (`unroll`) takes longer to compile and, on a CPU, a little less for
    gradients: some 8 % for the network of the paper's demonstrations with 10 steps.

    Args:
      encoder, core, decoder: from graph to graph, without side effects. The core sees
        twice the width of the encoder's features. Where it returns their width, the
        steps are one loop; else they are traced one by one.
      num_steps: M, unless the call says otherwise.
      memory: cells behind the core that carry a hidden graph from step to step.
      unroll: how many steps are one turn of the loop; M or more leaves no loop.

    >>> import haiku as hk, jax, jax.numpy as jnp, jraph
    >>> from relational.blocks import EncodeProcessDecode, GraphNetwork, Independent
    >>> graph = jraph.GraphsTuple(
    ...     nodes=jnp.ones([3, 2]), edges=jnp.ones([2, 1]), globals=jnp.ones([1, 1]),
    ...     senders=jnp.array([0, 1]), receivers=jnp.array([1, 2]),
    ...     n_node=jnp.array([3]), n_edge=jnp.array([2]))
    >>> def updates(width):
    ...     names = ("update_edge", "update_node", "update_global")
    ...     return {name: hk.nets.MLP([width], name=name) for name in names}
    >>> model = hk.transform(lambda graph: EncodeProcessDecode(
    ...     encoder=Independent(**updates(8)), core=GraphNetwork(**updates(8)),
    ...     decoder=Independent(**updates(2)), num_steps=4)(graph))
    >>> outputs = model.apply(model.init(jax.random.key(0), graph), None, graph)
    >>> len(outputs), outputs[-1].nodes.shape
    (4, (3, 2))
    """

    def __init__(
        self,
        *,
        encoder: Block,
        core: Block,
        decoder: Block,
        num_steps: int,
        memory: Recurrent | None = None,
        unroll: int = 1,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        check_count("num_steps", num_steps, least=1, advice="It counts steps.")
        self.encoder = encoder
        self.core = core
        self.decoder = decoder
        self.num_steps = num_steps
        self.memory = memory
        check_count("unroll", unroll, least=1, advice="It counts steps.")
        self.unroll = unroll

    def __call__(self, graph: Any, *, num_steps: int | None = None) -> list[Any]:
        """Returns the decoded graph of each processing step.

        Args:
          graph: an `rl.Graph` or a `jraph.GraphsTuple`.
          num_steps: M of this call.
        """
        count = self.num_steps if num_steps is None else num_steps
        check_count("num_steps", count, least=1, advice="It counts steps.")
        encoded = self.encoder(graph)
        decoded = encoded  # With the edges of what is decoded, once there is a step.

        def step(carried: Any, _: Any) -> Any:
            # Only features are carried: the edges stay known while tracing.
            nonlocal decoded
            latent, state = self.process(encoded, *carried)
            decoded = self.decode(latent)
            return (features_of(latent), state), features_of(decoded)

        state = None if self.memory is None else self.memory.initial_state(encoded)
        start = (features_of(encoded), state)
        outputs = _scanned(step, start, count, self.unroll)
        return [with_all_features(decoded, output) for output in outputs]

    def process(self, encoded: Any, latent: Any, state: Any) -> tuple[Any, Any]:
        """Returns the graph after one more step, and what the memory then holds.

        Args:
          encoded: what the encoder made.
          latent: the features of the graph after the step before.
          state: of the memory.
        """
        before = with_all_features(encoded, latent)
        made = self.core(side_by_side(encoded, before))
        return (made, None) if self.memory is None else self.memory(made, state)

    def decode(self, latent: Any) -> Any:
        """Returns what the decoder makes of the graph after a step."""
        return self.decoder(latent)


def _scanned(
    step: Callable[..., Any], start: Any, count: int, unroll: int
) -> list[Any]:
    """Returns what each of `count` steps gives, in one loop if they carry one shape."""
    if unroll >= count or not _keeps_shapes(step, start):
        outputs = []
        for _ in range(count):
            start, output = step(start, None)
            outputs.append(output)
        return outputs
    _, stacked = hk.scan(step, start, None, count, unroll=unroll)
    leaves, treedef = jax.tree.flatten(stacked)
    # The derivative of a split puts together; that of an index would add up zeros.
    cut = [jnp.split(leaf, count) for leaf in leaves]
    return [
        jax.tree.unflatten(treedef, [jnp.squeeze(each[at], 0) for each in cut])
        for at in range(count)
    ]


def _keeps_shapes(step: Callable[..., Any], start: Any) -> bool:
    carried, _ = hk.eval_shape(step, start, None)
    return changed_shape(start[0], carried[0]) is None
