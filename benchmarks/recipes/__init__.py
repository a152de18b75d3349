"""Recipes: functions that return an Experiment. `mmgraph run benchmarks.recipes.tiktok:lightgcn`."""
