"""Templates: named workflows with typed parameters. Read from files, inferred from graphs, bound to values."""
