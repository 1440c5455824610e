"""Devices: the mesh, and the rules that lay weights and batches out on it."""
