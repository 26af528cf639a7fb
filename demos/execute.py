"""Executes the notebooks in this folder and writes their outputs back into them.

Run `python demos/execute.py` after a change, and look at what came out: the notebooks
are shipped with their outputs. `tests/test_demos.py` executes them as well.
"""

import pathlib
import sys

import nbclient
import nbformat

_FOLDER = pathlib.Path(__file__).parent


def executed(path: pathlib.Path) -> nbformat.NotebookNode:
    """Returns a notebook with the outputs of a fresh kernel of this interpreter.

    Raises:
      nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=7200,  # Of a cell: one trains for 20 minutes if there is no run yet.
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(_FOLDER)}},
    )
    return client.execute()


def main(names: list[str]) -> None:
    """Executes the named notebooks; all, if none is named."""
    paths = [pathlib.Path(name) for name in names] or sorted(_FOLDER.glob("*.ipynb"))
    for path in paths:
        nbformat.write(executed(path), path)


if __name__ == "__main__":
    main(sys.argv[1:])
