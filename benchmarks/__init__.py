"""Speed, recipes, committed results and the tables made of them."""
