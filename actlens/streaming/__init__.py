"""One pass over rows that no memory holds: parts, what each worker makes of its part, and their sum.

A pass is described by a pure function of a part, and by how two results are joined. The rows are cut on a
grid that depends on the layer alone, so the numbers do not depend on how many workers there are.
"""
