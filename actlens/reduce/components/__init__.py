"""Principal components: `covariance.py`, `gram.py`, `krylov.py` are the ways, `axes.py` what is found."""
