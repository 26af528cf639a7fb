if __name__ == "datasets":  # The root of the repository links here; that name is not ours.
    raise ImportError("use `import relational.datasets`: `datasets` alone is another's name.")
