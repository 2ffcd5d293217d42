"""The storage format, and nothing else: docs/format.md says what these rooms do.

dtypes      names of element types: safetensors' and numpy's
schema      what a recording holds: layers, columns, writers
header      the safetensors header: written, and parsed with limits
digests     xxh3 over tensors, blocks and headers
commit      the protocol that makes a file appear whole or not at all
shard       one file: written, read, verified
manifest    the derived index
"""
