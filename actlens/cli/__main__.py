"""`python -m actlens.cli`."""

from actlens.cli import main

main()
