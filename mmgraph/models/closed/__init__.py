"""Models in closed form, or solved without batches: the rows of honesty beside every trained one."""
