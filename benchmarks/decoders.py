"""One decoder, twice: by a spec of ours and as the GPT-2 of Hugging Face.

Ours is a spec of the shipped parts: norms before each part, biases, GELU, a table that
is read out as well, and sinusoids where GPT-2 learns its positions (it begins with
ours). With the same weights the two compute the same logits. A residual stream of ours
begins with the table's rows times sqrt(D), as in Vaswani et al. (2017, section 3.4), one
of GPT-2 with the rows themselves; so what is added to GPT-2's is divided by sqrt(D),
and norms, which see no scale, make up for it, with their epsilon divided by D.

Shapes: B batch, L length, D width, V vocabulary.
"""

import dataclasses
from typing import Any

import numpy as np

from relational import specs
from relational.models.tasks import NextToken

Arrays = dict[str, np.ndarray]

_EPSILON = 1e-6  # Of our norms.
_SPEC = """
name: decoder
model:
  nodes: {{token: {{vocabulary: {vocabulary}, width: {width}, positions: sinusoid}}}}
  edges: {{self: {{from: token, to: token, topology: {topology}}}}}
  blocks:
    - repeat: {layers}
      attention: {{over: self, heads: {heads}, bias: true}}
      feed_forward: {{width: {hidden}, activation: gelu}}
  read_out: {{node: token}}
data:
  plain_text:
    train: [any.txt]
    validation: [any.txt]
    vocabulary: {vocabulary}
    window: 256
training:
  steps: 1000
  batch_size: 1
  precision: {precision}
  optimizer: {{adamw: {{b2: 0.999, eps: 1.0e-8}}}}
  schedule: {{constant: {{rate: 3.0e-4}}}}
  clip_norm: null
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decoder:
    """The sizes of a decoder."""

    layers: int
    width: int
    heads: int
    vocabulary: int

    def spec(
        self, *, topology: str = "causal", precision: str = "float32"
    ) -> specs.Spec:
        """Returns our spec of it."""
        sizes = dataclasses.asdict(self)
        text = _SPEC.format(
            **sizes, hidden=4 * self.width, topology=topology, precision=precision
        )
        return specs.loads(text, "decoder")

    def params(self, *, boldness: float = 1.0) -> Any:
        """Returns our parameters, drawn without compiling `init`.

        Args:
          boldness: by how much queries, and what is added to the residual stream, are
            larger than usual. At 1 the table reads out what it has read in.
        """
        import jax

        task = NextToken(self.spec().model)
        batch = batch_of(np.zeros((1, 2), np.int32))
        shapes = jax.eval_shape(task.init, jax.random.key(0), batch)
        random = np.random.default_rng(0)

        def drawn(path: Any, leaf: Any) -> np.ndarray:
            if path[-1].key == "scale":
                return np.ones(leaf.shape, np.float32)
            rows = self.width if leaf.ndim < 2 or path[-1].key == "table" else len(leaf)
            spread = 0.02 if leaf.ndim < 2 else rows**-0.5
            if path[0].key.endswith(("output", "query")):
                spread *= boldness
            return random.normal(0, spread, leaf.shape).astype(np.float32)

        return jax.tree_util.tree_map_with_path(drawn, shapes)

    def gpt2(self, params: Any, *, positions: int) -> Any:
        """Returns GPT-2 with our parameters, for up to so many positions."""
        import torch
        import transformers

        config = transformers.GPT2Config(
            vocab_size=self.vocabulary,
            n_positions=positions,
            n_embd=self.width,
            n_layer=self.layers,
            n_head=self.heads,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            layer_norm_epsilon=_EPSILON / self.width,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation="sdpa",
        )
        model = transformers.GPT2LMHeadModel(config)
        state = {
            name: torch.from_numpy(np.array(value, np.float32))
            for name, value in self._named(params, positions).items()
        }
        state["lm_head.weight"] = state["transformer.wte.weight"]
        model.load_state_dict(state)
        return model

    def _named(self, params: Any, positions: int) -> Arrays:
        """Returns our parameters under GPT-2's names."""
        from relational.blocks import sinusoids

        root = np.float32(np.sqrt(self.width))
        waves = sinusoids(np.arange(positions), self.width, "interleaved")
        named = {
            "wte.weight": params["model/embed_token"]["table"],
            "wpe.weight": np.asarray(waves) / root,
            "ln_f.weight": params["model/final_norm"]["scale"],
            "ln_f.bias": params["model/final_norm"]["offset"],
        }
        for layer in range(self.layers):
            ours, theirs = f"model/layer_{layer}_", f"h.{layer}."
            attention = [
                params[f"{ours}attention/{name}"] for name in ("query", "key", "value")
            ]
            joined = params[f"{ours}attention/output"]
            hidden = params[f"{ours}feed_forward/hidden"]
            output = params[f"{ours}feed_forward/output"]
            for name, at in (("attention_norm", "ln_1"), ("feed_forward_norm", "ln_2")):
                named[f"{theirs}{at}.weight"] = params[ours + name]["scale"]
                named[f"{theirs}{at}.bias"] = params[ours + name]["offset"]
            named |= {
                f"{theirs}attn.c_attn.weight": np.concatenate(
                    [each["w"] for each in attention], axis=1
                ),
                f"{theirs}attn.c_attn.bias": np.concatenate(
                    [each["b"] for each in attention]
                ),
                f"{theirs}attn.c_proj.weight": joined["w"] / root,
                f"{theirs}attn.c_proj.bias": joined["b"] / root,
                f"{theirs}mlp.c_fc.weight": hidden["w"],
                f"{theirs}mlp.c_fc.bias": hidden["b"],
                f"{theirs}mlp.c_proj.weight": output["w"] / root,
                f"{theirs}mlp.c_proj.bias": output["b"] / root,
            }
        return {f"transformer.{name}": value for name, value in named.items()}


def compiled(model: Any) -> Any:
    """Returns a model of PyTorch that is compiled when it is called."""
    import sys

    import torch

    # Without flax this module raises when it is asked for a name, and inductor asks all.
    sys.modules.pop("haiku.experimental.flax", None)
    return torch.compile(model)


def batch_of(tokens: np.ndarray) -> Arrays:
    """Returns a batch of `NextToken`: each node hears a token and says the next."""
    before, after = tokens[:, :-1], tokens[:, 1:]
    return {
        "previous": before.astype(np.int32),
        "token": after.astype(np.int32),
        "weight": np.ones(after.shape, np.float32),
    }
