"""Text that is printed as it comes."""

import typer


def print_at_once(text: str) -> bool:
    """Writes text out at once; says whether anybody reads it.

    After `| head` nobody does, and there is no use in making more.
    """
    stream = typer.get_binary_stream("stdout")
    try:
        stream.write(text.encode())
        stream.flush()
    except BrokenPipeError:
        return False
    return True
