"""What runs cost: what a graph looks like to the scheduler, what a worker holds in memory, and what was learned."""
