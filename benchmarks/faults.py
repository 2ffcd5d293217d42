"""What the store keeps under faults: kills, failing calls, a full disk, damage, and the order of the calls.

    python benchmarks/faults.py                     # the long form of all parts; about an hour
    python benchmarks/faults.py --short             # the counts that the tests use; under two minutes
    python benchmarks/faults.py kills flips --rounds 500 --flips 20000
    python benchmarks/faults.py order --weak no-fsync   # must find something: actlens is made weaker first

One table comes out, and the exit status is 1 where anything was lost, silent, torn or otherwise wrong.
"""

from faults.app import main

if __name__ == "__main__":
    raise SystemExit(main())
