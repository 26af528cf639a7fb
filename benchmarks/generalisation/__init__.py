"""Networks trained on small graphs and tested on larger ones (Battaglia et al. 2018).

`settings` are the networks and how they are trained, `training` is a loop that can be
stopped, `puzzles` (shortest paths, sorting) and `chains` (springs) say what is learned and
measured, and `report` makes the tables of docs/graph_results.md.
"""
