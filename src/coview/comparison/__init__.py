"""Several methods under one budget, side by side: which runs there are, one of them, the table and the figure."""
