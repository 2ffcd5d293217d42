"""What a Recorder is made of, in the order in which a batch passes through.

ids           what may be an id, which samples are kept, which were seen
columns       one value a row
rows          a batch: its rows, ids and columns, and which are kept
host          from the framework's device to numpy
buffer        rows that wait to become a shard, and the schema they keep
writer        claims the path, commits in the background, seals
"""
