"""What a folder must hold to be read, and what is said where it does not."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from relational import blocks, models, weights
from tests.weights.hugging_face import GOLDEN, imported, inputs_of, model_of, recorded


def rewritten(folder, name, *, tensors=lambda given: given, **config):
    """A copy of a recorded model, with other tensors, and other fields of its config."""
    folder.mkdir(exist_ok=True)
    given = load_file(GOLDEN / name / "model.safetensors")
    save_file(tensors(given), folder / "model.safetensors")
    fields = json.loads((GOLDEN / name / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(fields | config), "utf-8")
    return folder


def renamed(change):
    return lambda given: {change(name): value for name, value in given.items()}


def with_more(**more):
    return lambda given: (
        given | {name.replace("__", "."): value for name, value in more.items()}
    )


def assert_same(found, wanted):
    assert found.spec == wanted.spec
    jax.tree.map(np.testing.assert_array_equal, found.params, wanted.params)


def test_tensors_may_lie_in_several_files(tmp_path):
    given = load_file(GOLDEN / "gpt2" / "model.safetensors")
    names, places = sorted(given), {}
    for index in range(3):
        file = f"model-0000{index + 1}-of-00003.safetensors"
        part = {name: given[name] for name in names[index::3]}
        save_file(part, tmp_path / file)
        places |= dict.fromkeys(part, file)
    index_file = tmp_path / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    config = (GOLDEN / "gpt2" / "config.json").read_text("utf-8")
    (tmp_path / "config.json").write_text(config, "utf-8")
    assert_same(weights.load(tmp_path), imported("gpt2"))

    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ValueError, match="named by the index, and is missing"):
        weights.load(tmp_path)
    places["wte.weight"] = "model-00001-of-00003.safetensors"
    index_file.write_text(json.dumps({"weight_map": dict(list(places.items())[-1:])}))
    with pytest.raises(ValueError, match=r"`wte.weight` is not in its file"):
        weights.load(tmp_path)
    index_file.write_text('{"weight_map": 3}')
    with pytest.raises(ValueError, match="must be an index with a `weight_map`"):
        weights.load(tmp_path)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_any_floating_type_becomes_float32(tmp_path, dtype):
    def change(given):
        return {name: value.astype(dtype) for name, value in given.items()}

    found = weights.load(rewritten(tmp_path, "marian", tensors=change))
    leaves = jax.tree.leaves(found.params)
    wanted = jax.tree.leaves(imported("marian").params)
    for leaf, known in zip(leaves, wanted, strict=True):
        assert leaf.dtype == np.float32
        np.testing.assert_array_equal(leaf, np.asarray(known).astype(dtype))


def test_gpt2_may_lack_its_prefix_and_hold_masks(tmp_path):
    def change(given):
        bare = {name.removeprefix("transformer."): leaf for name, leaf in given.items()}
        return bare | {"h.1.attn.bias": np.ones((1, 1, 20, 20), bool)}

    found = weights.load(rewritten(tmp_path, "gpt2", tensors=change))
    assert_same(found, imported("gpt2"))
    assert found.ignored == ("h.1.attn.bias",)


def test_bert_may_have_old_names_and_heads_of_other_tasks(tmp_path):
    def old(name):
        return name.replace("Norm.weight", "Norm.gamma").replace(
            "Norm.bias", "Norm.beta"
        )

    extra = with_more(
        bert__pooler__dense__weight=np.ones((16, 16), np.float32),
        cls__seq_relationship__bias=np.ones(2, np.float32),
    )
    found = weights.load(
        rewritten(tmp_path, "bert", tensors=lambda given: extra(renamed(old)(given)))
    )
    assert_same(found, imported("bert"))
    assert set(found.ignored) == {"pooler.dense.weight", "cls.seq_relationship.bias"}


def test_copies_may_lie_beside_and_must_say_the_same(tmp_path):
    waves = np.asarray(blocks.sinusoids(np.arange(20), 16, "split"))

    def change(given):
        table = given["model.shared.weight"]
        return given | {
            "model.encoder.embed_positions.weight": waves,
            "model.decoder.embed_tokens.weight": table.copy(),
            "lm_head.weight": table.copy(),
        }

    found = weights.load(rewritten(tmp_path, "marian", tensors=change))
    assert_same(found, imported("marian"))
    assert found.ignored == ()
    other = with_more(model__encoder__embed_positions__weight=waves + 1)
    words = r"`model.encoder.embed_positions.weight` must be the sinusoids of Vaswani"
    with pytest.raises(ValueError, match=words):
        weights.load(rewritten(tmp_path, "marian", tensors=other))


def test_a_read_out_of_its_own_is_read(tmp_path):
    table = load_file(GOLDEN / "gpt2" / "model.safetensors")["transformer.wte.weight"]
    more = with_more(lm_head__weight=2 * table)
    found = weights.load(rewritten(tmp_path, "gpt2", tensors=more))
    assert not found.spec.read_out.tied
    model, inputs = models.build(found.spec), inputs_of("gpt2")
    logits = model.apply(found.params, None, inputs, is_training=False)
    np.testing.assert_allclose(logits, 2 * recorded("gpt2")["logits"], atol=2e-4)
    same = with_more(lm_head__weight=table.copy())
    again = weights.load(rewritten(tmp_path, "gpt2", tensors=same))
    assert_same(again, imported("gpt2"))


WRONG_CONFIGS = [
    (
        "gpt2",
        {"model_type": "llama"},
        "`model_type` must be one of `gpt2`, `bert`, `t5`",
    ),
    ("gpt2", {"model_type": None}, "`model_type` must be one of .*; got null"),
    (
        "gpt2",
        {"n_embd": "16"},
        '`n_embd` must be a whole number of at least 1; got "16"',
    ),
    (
        "gpt2",
        {"activation_function": "mish"},
        "`activation_function` must be one of `relu`",
    ),
    ("gpt2", {"add_cross_attention": True}, "`add_cross_attention` must be `false`"),
    (
        "gpt2",
        {"scale_attn_weights": False},
        "`scale_attn_weights` must be `true`; got f",
    ),
    ("gpt2", {"n_head": 3}, r"a spec can say; .*heads: 3 does not divide width 16"),
    ("gpt2", {"resid_pdrop": 1.5}, r"a spec can say; dropout: Input should be less"),
    ("gpt2", {"n_layer": 1}, r"`h.1.attn.c_attn.bias` has no place .*; and 6 more\."),
    ("gpt2", {"n_layer": 3}, r"`h.2.attn.c_attn.weight` \[16, 48\] is missing"),
    ("gpt2", {"vocab_size": 40}, r"`wte.weight` must be \[40, 16\]; it is \[41, 16\]"),
    ("gpt2", {"layer_norm_epsilon": "small"}, "must be a number of at least 0"),
    (
        "bert",
        {"position_embedding_type": "relative_key"},
        '`"absolute"`; got "relative',
    ),
    ("bert", {"is_decoder": True}, "`is_decoder` must be `false`; got true"),
    ("t5", {"feed_forward_proj": "gated-mish"}, "`feed_forward_proj` must be one of"),
    ("t5", {"scale_decoder_outputs": 1}, "`scale_decoder_outputs` must be `true` or"),
    ("t5", {"eos_token_id": [1, 2]}, "`eos_token_id` must be the number of one token"),
    ("marian", {"normalize_before": True}, "`normalize_before` must be `false`"),
    (
        "marian",
        {"share_encoder_decoder_embeddings": False},
        "must be `true`; got false",
    ),
]


@pytest.mark.parametrize(("name", "config", "words"), WRONG_CONFIGS)
def test_a_model_that_specs_cannot_say_is_refused(tmp_path, name, config, words):
    with pytest.raises(ValueError, match=words):
        weights.load(rewritten(tmp_path, name, **config))


def test_all_that_is_wrong_with_tensors_is_told_at_once(tmp_path):
    def change(given):
        del given["bert.encoder.layer.1.output.dense.bias"]
        given["bert.encoder.layer.0.output.dense.bias"] = np.ones(3, np.float32)
        given["cls.predictions.bias"] = np.ones(41, np.int64)
        return given | {"classifier.weight": np.ones((2, 16), np.float32)}

    with pytest.raises(
        ValueError, match="tensors must be those of the model"
    ) as caught:
        weights.load(rewritten(tmp_path, "bert", tensors=change))
    for words in (
        "`encoder.layer.1.output.dense.bias` [16] is missing",
        "`encoder.layer.0.output.dense.bias` must be [16]; it is [3]",
        "`cls.predictions.bias` must be floats; it is int64",
        "`classifier.weight` has no place in the model",
    ):
        assert words in str(caught.value)


def test_a_folder_without_the_files_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("[]", "utf-8")
    with pytest.raises(ValueError, match="must be a JSON object; it is none"):
        weights.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', "utf-8")
    with pytest.raises(
        ValueError, match=r"must hold `model.safetensors`, or .*has none"
    ):
        weights.load(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"it has `pytorch_model.bin`, which is no such"
    ):
        weights.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(ValueError, match="must be a file of safetensors; it cannot be"):
        weights.load(tmp_path)


def test_the_models_are_those_that_were_meant():
    """The recorded ones differ in what their specs say, not only in their numbers."""
    plain, other = (model_of(name).spec for name in ("t5", "t5_untied"))
    assert plain.read_out.tied
    assert plain.read_out.scaled
    assert not other.read_out.tied
    assert not other.read_out.scaled
    assert other.blocks[0].feed_forward.gated
    assert imported("marian").spec.read_out.start == 40
