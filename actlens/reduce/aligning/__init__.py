"""Many steps or layers in one picture: `frames.py` parts the rows, `aligned_*.py` fit and place them."""
