"""Faults, and what a recording makes of them; run by `python benchmarks/faults.py`.

`rows` knows what every row must be, `program` writes them, `checks` judges what is left; `nursery` runs the
program in processes that may die, `strace` watches or breaks their system calls. Each other room is one kind
of fault.
"""
