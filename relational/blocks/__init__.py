if __name__ == "blocks":  # The root of the repository links here; that name is not ours.
    raise ImportError("use `import relational.blocks`: `blocks` alone is another's name.")
