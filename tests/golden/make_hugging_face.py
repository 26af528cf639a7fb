"""Records what small random models of Hugging Face make of random tokens.

    python tests/golden/make_hugging_face.py [folder]

writes a folder a model, as `save_pretrained` does (`config.json`, `model.safetensors`), with
`expected.npz` beside it: the inputs, and the logits that they give. The tests read these
files and need neither torch nor transformers; where both are installed (`pip install -e
'.[parity]'`), a test makes them anew.
"""

import json
import pathlib
import platform
import sys

import numpy as np
import torch
import transformers

BATCH, LENGTH, VOCABULARY = 3, 12, 41
SOURCE_LENGTHS = (12, 7, 1)
WIDTH, HEADS, HIDDEN = 16, 4, 24


def gpt2(**changes):
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=20,
            n_embd=WIDTH,
            n_layer=2,
            n_head=HEADS,
            n_inner=HIDDEN,
            **changes,
        )
    )


def t5(**changes):
    """More tokens than a side of the buckets tells apart, layers of two counts."""
    return transformers.T5ForConditionalGeneration(
        transformers.T5Config(
            vocab_size=VOCABULARY,
            d_model=WIDTH,
            d_kv=3,
            num_heads=HEADS,
            d_ff=HIDDEN,
            num_layers=2,
            num_decoder_layers=1,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=10,
            decoder_start_token_id=0,
            **changes,
        )
    )


def t5_untied():
    """As T5 1.1: gated, and with a read-out of its own that is not scaled."""
    model = t5(feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    model.lm_head.weight = torch.nn.Parameter(torch.empty(VOCABULARY, WIDTH))
    return model


def marian(**changes):
    return transformers.MarianMTModel(
        transformers.MarianConfig(
            vocab_size=VOCABULARY,
            d_model=WIDTH,
            encoder_layers=1,
            decoder_layers=2,
            encoder_attention_heads=2,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=HIDDEN,
            decoder_ffn_dim=32,
            max_position_embeddings=20,
            activation_function="swish",
            scale_embedding=True,
            pad_token_id=VOCABULARY - 1,
            decoder_start_token_id=VOCABULARY - 1,
            eos_token_id=0,
            forced_eos_token_id=0,
            **changes,
        )
    )


def bert(**changes):
    return transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=HEADS,
            intermediate_size=HIDDEN,
            max_position_embeddings=20,
            type_vocab_size=2,
            **changes,
        )
    )


MODELS = {
    "gpt2": gpt2,
    "t5": t5,
    "t5_untied": t5_untied,
    "marian": marian,
    "bert": bert,
}


def randomised(model, seed):
    """Gives every parameter random numbers: biases and norms begin as 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "embed_positions" in name:  # Marian's sinusoids.
                continue
            drawn = torch.randn(value.shape, generator=generator)
            is_norm = "norm" in name.lower() or ".ln_" in name
            is_scale = is_norm and name.endswith("weight")
            value.copy_(1 + 0.3 * drawn if is_scale else 0.4 * drawn)
        if hasattr(model, "final_logits_bias"):
            drawn = torch.randn(model.final_logits_bias.shape, generator=generator)
            model.final_logits_bias.copy_(drawn)
    return model.eval()


def inputs_of(model, seed):
    """Random tokens, as arrays; what is padded says how long it is."""
    rng = np.random.default_rng(seed)
    inputs = {"input_ids": rng.integers(0, VOCABULARY, (BATCH, LENGTH))}
    kind = model.config.model_type
    if kind != "gpt2":
        places = np.arange(LENGTH)[None]
        inputs["attention_mask"] = (places < np.array(SOURCE_LENGTHS)[:, None]).astype(
            np.int64
        )
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = rng.integers(0, VOCABULARY, (BATCH, LENGTH - 2))
    if kind == "bert":
        inputs["token_type_ids"] = rng.integers(0, 2, (BATCH, LENGTH))
    return inputs


def record(name, folder):
    """Writes the folder of a model."""
    torch.manual_seed(0)
    model = randomised(MODELS[name](), seed=len(name))
    inputs = inputs_of(model, seed=len(name))
    with torch.no_grad():
        given = {key: torch.from_numpy(value) for key, value in inputs.items()}
        logits = model(**given).logits.numpy()
    model.save_pretrained(folder / name)
    (folder / name / "generation_config.json").unlink(missing_ok=True)
    np.savez_compressed(
        folder / name / "expected.npz",
        logits=logits,
        **{key: value.astype(np.int32) for key, value in inputs.items()},
    )


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        record(name, folder)
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    text = json.dumps(versions, indent=2) + "\n"
    (folder / "versions.json").write_text(text, "utf-8")


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent
    main(pathlib.Path(sys.argv[1]) if sys.argv[1:] else here / "hugging_face")
