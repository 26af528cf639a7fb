"""Terms to compare lowerings on: one for each thing that an edge can depend on.

Messages have three features, but for the scalars (`content`, `..._bias`, `first`) and the
matrices (`outer`, ...).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import relational as rl


class Held(NamedTuple):
    """Arrays that terms close over."""

    matrix: Any
    index: Any
    key: Any


def is_made(term: Any) -> bool:
    """Whether this is a function that makes a term of what it closes over."""
    return "held" in term.__code__.co_varnames[: term.__code__.co_argcount]


def content(receiver, sender):
    return rl.dot(receiver.query, sender.key)


def tanh_pair(receiver, sender):
    return jnp.tanh(receiver.query + sender.key).sum()


def own_bias(receiver):
    return receiver.gate[0]


def sender_bias(sender):
    return sender.value[0]


def constant():
    return jnp.float32(0.5)


def temperature(context):
    return context.slope


def tempered(receiver, sender, context):
    return rl.dot(receiver.query, sender.key) * jnp.tanh(context.tilt).sum().astype(
        jnp.result_type(rl.dot(receiver.query, sender.key))
    )


def offset_bias(offset):
    return offset.bias


def offset_key(receiver, offset):
    return rl.dot(receiver.query, offset.key)


def curved_offset(receiver, offset):
    return jnp.cos(rl.dot(receiver.query, offset.key))  # Not zero where the row is.


def sender_offset(sender, offset):
    return rl.dot(sender.key, offset.key)


def pair_offset(receiver, sender, offset):
    return jnp.tanh(rl.dot(receiver.query + offset.key, sender.key))


def pitch_bias(pitch):
    return pitch.bias


def pitch_key(receiver, pitch):
    return rl.dot(receiver.query, pitch.key)


def curved_pitch(receiver, pitch):
    return jnp.cos(rl.dot(receiver.query, pitch.key))


def sender_pitch(sender, pitch):
    return rl.dot(sender.key, pitch.key)


def offset_and_pitch(offset, pitch):
    return offset.bias * pitch.bias


def receiver_offset_and_pitch(receiver, offset, pitch):
    return rl.dot(receiver.query, offset.key * pitch.key)


def label_bias(label):
    return label.bias


def label_key(receiver, label):
    return rl.dot(receiver.query, label.key)


def slope(distance, context):
    return -context.slope * jnp.abs(distance).astype(jnp.result_type(context.slope))


def far(distance):
    return jnp.cos(distance.astype(jnp.float32))


def own_interval(receiver, interval):
    return receiver.gate[0] * jnp.cos(interval.astype(jnp.float32)).astype(
        receiver.gate.dtype
    )


def edge_bias(edge):
    return edge.bias


def edge_gate(receiver, edge):
    return rl.dot(receiver.gate, edge.value)


def held_bias(held):
    return lambda sender: rl.dot(sender.value, held.matrix[held.index[1]])


def held_noise(held):
    return lambda: jax.random.uniform(held.key, (), jnp.float32)


def value(sender):
    return sender.value


def own(receiver):
    return receiver.gate


def gated(receiver, sender):
    return receiver.gate * sender.value


def tilt(context):
    return context.tilt


def constants():
    return jnp.array([1.0, -2.0, 0.5], jnp.float32)


def offset_value(offset):
    return offset.value


def curved_offset_value(offset):
    return jnp.cos(offset.value)


def gated_offset(receiver, offset):
    return receiver.gate * offset.value


def sender_offset_value(sender, offset):
    return sender.value * offset.value


def pitch_value(pitch):
    return pitch.value


def curved_pitch_value(pitch):
    return jnp.cos(pitch.value)


def gated_pitch(receiver, pitch):
    return receiver.gate * pitch.value


def offset_and_pitch_value(offset, pitch):
    return offset.value * pitch.bias


def label_value(label):
    return label.value


def gated_label(receiver, label):
    return receiver.gate * label.value


def faded(sender, distance):
    return sender.value / (1 + jnp.abs(distance)).astype(sender.value.dtype)


def whole_interval(interval, context):
    return context.tilt * interval.astype(context.tilt.dtype)


def everything(receiver, sender, offset):
    return jnp.tanh(receiver.gate * sender.value + offset.value)


def edge_value(edge):
    return edge.value


def edge_product(sender, edge):
    return sender.value * edge.value


def held_value(held):
    return lambda sender: sender.value[held.index] @ held.matrix


def first(sender):
    return sender.value[0]


def outer(receiver, sender):
    return receiver.query[:, None] * sender.value[None]


def outer_value(sender):
    return sender.key[:, None] * sender.value[None]


def outer_offset(receiver, offset):
    return receiver.query[:, None] * offset.value[None]
