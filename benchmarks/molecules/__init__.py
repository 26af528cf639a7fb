"""ESOL and FreeSolv, ten random splits.

A message-passing network, which hears along bonds, and a graph transformer, in which
all atoms of a molecule hear each other and know how far apart they are; beside them the
mean, and a linear model of how many atoms and bonds of each kind there are. 80 % of the
molecules are learned from; after each epoch 10 % are looked at, and the parameters of
the epoch in which these were best are tested on the last 10 %.

`baselines` and `networks` are what predicts, `batches` what networks see, `training` how
they learn, and `models` all that is compared.
"""
