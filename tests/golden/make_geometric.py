"""Records what layers of PyTorch Geometric make of random graphs, with their weights.

    python tests/golden/make_geometric.py [folder]

writes an `.npz` a layer and `versions.json`. The tests read these files and need no
torch; where it is installed (`pip install -e '.[parity]'`), a test makes them anew.
"""

import json
import pathlib
import platform
import sys

import numpy as np
import torch
import torch_geometric
from torch_geometric import nn

NUM_NODES, NUM_EDGES, WIDTH, EDGE_WIDTH, NUM_TYPES = 12, 30, 5, 3, 4


def random_graph(seed):
    """A graph without self-edges; nodes 10 and 11 hear nobody, 11 says nothing."""
    rng = np.random.default_rng(seed)
    pairs = [(s, r) for s in range(11) for r in range(10) if s != r]
    chosen = rng.permutation(len(pairs))[:NUM_EDGES]
    senders, receivers = np.array(pairs, np.int32)[chosen].T
    return {
        "senders": senders,
        "receivers": receivers,
        "nodes": rng.normal(size=(NUM_NODES, WIDTH)).astype(np.float32),
        "edges": rng.normal(size=(NUM_EDGES, EDGE_WIDTH)).astype(np.float32),
        "types": rng.integers(0, NUM_TYPES, NUM_EDGES).astype(np.int32),
    }


def mlp():
    return torch.nn.Sequential(
        torch.nn.Linear(WIDTH, 8), torch.nn.ReLU(), torch.nn.Linear(8, 6)
    )


def principal(width, **more):
    return nn.PNAConv(
        WIDTH,
        width,
        aggregators=["mean", "min", "max", "std"],
        scalers=["identity", "amplification", "attenuation"],
        deg=torch.tensor([1, 2, 3, 4, 2]),  # Of a training set: nodes by degree.
        edge_dim=EDGE_WIDTH,
        **more,
    )


LAYERS = {
    "gcn": lambda: nn.GCNConv(WIDTH, 7),
    "gcn_bare": lambda: nn.GCNConv(WIDTH, 4, add_self_loops=False, bias=False),
    "gat": lambda: nn.GATConv(WIDTH, 4, heads=3),
    "gat_mean": lambda: nn.GATConv(WIDTH, 4, heads=3, concat=False),
    "gatv2": lambda: nn.GATv2Conv(WIDTH, 4, heads=3),
    "gatv2_shared": lambda: nn.GATv2Conv(WIDTH, 4, heads=2, share_weights=True),
    "sage_mean": lambda: nn.SAGEConv(WIDTH, 6),
    "sage_max": lambda: nn.SAGEConv(WIDTH, 6, aggr="max"),
    "sage_pool": lambda: nn.SAGEConv(
        WIDTH, 6, aggr="max", project=True, normalize=True
    ),
    "gin": lambda: nn.GINConv(mlp(), eps=0.25, train_eps=True),
    "rgcn": lambda: nn.RGCNConv(WIDTH, 6, NUM_TYPES),
    "rgcn_bases": lambda: nn.RGCNConv(WIDTH, 6, NUM_TYPES, num_bases=2),
    "transformer": lambda: nn.TransformerConv(WIDTH, 4, heads=3),
    "transformer_edges": lambda: nn.TransformerConv(
        WIDTH, 4, heads=3, edge_dim=EDGE_WIDTH
    ),
    "gcn_weights": lambda: nn.GCNConv(WIDTH, 7),
    "gcn_weights_bare": lambda: nn.GCNConv(WIDTH, 4, add_self_loops=False),
    "gat_edges": lambda: nn.GATConv(WIDTH, 4, heads=3, edge_dim=EDGE_WIDTH),
    "gatv2_edges": lambda: nn.GATv2Conv(WIDTH, 4, heads=3, edge_dim=EDGE_WIDTH),
    "gatv2_edges_bare": lambda: nn.GATv2Conv(
        WIDTH, 4, heads=3, edge_dim=EDGE_WIDTH, add_self_loops=False
    ),
    # It takes deviations below 0.0032 for none; these graphs have no such.
    "pna_split": lambda: principal(10, towers=WIDTH, divide_input=True),
    "pna_towers": lambda: principal(6, towers=2),
}


def record(name, seed):
    """Returns the inputs, weights and outputs of one layer."""
    torch.manual_seed(seed)
    graph, layer = random_graph(seed), LAYERS[name]()
    with torch.no_grad():  # Offsets and the like begin at zero, which tests nothing.
        for parameter in layer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    index = torch.from_numpy(np.stack([graph["senders"], graph["receivers"]])).long()
    more = {}
    if name.startswith("rgcn"):
        more["edge_type"] = torch.from_numpy(graph["types"]).long()
    if "edges" in name or name.startswith("pna"):
        more["edge_attr"] = torch.from_numpy(graph["edges"])
    if name.startswith("gcn_weights"):
        graph["weights"] = np.exp2(graph["edges"][:, :1])
        more["edge_weight"] = torch.from_numpy(graph["weights"][:, 0])
    with torch.no_grad():
        output = layer(torch.from_numpy(graph["nodes"]), index, **more)
    weights = {
        f"weights.{key}": value.detach().numpy()
        for key, value in layer.state_dict().items()
    }
    return {**graph, **weights, "output": output.numpy()}


def main(folder):
    """Writes all files."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(LAYERS):
        np.savez_compressed(folder / f"{name}.npz", **record(name, seed))
    versions = {
        "torch": torch.__version__,
        "torch-geometric": torch_geometric.__version__,
        "python": platform.python_version(),
    }
    text = json.dumps(versions, indent=2) + "\n"
    (folder / "versions.json").write_text(text, "utf-8")


if __name__ == "__main__":
    here = pathlib.Path(__file__).parent / "geometric"
    main(pathlib.Path(sys.argv[1]) if sys.argv[1:] else here)
