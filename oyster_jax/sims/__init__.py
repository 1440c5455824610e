"""Worlds written in JAX: the embedded default and the referee of every metric."""
