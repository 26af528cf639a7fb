if __name__ == "models":  # The root of the repository links here; that name is not ours.
    raise ImportError("use `import relational.models`: `models` alone is another's name.")
