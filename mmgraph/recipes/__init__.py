"""Recipes: functions that return an Experiment. `mmgraph run mmgraph.recipes.tiktok:lightgcn`."""
