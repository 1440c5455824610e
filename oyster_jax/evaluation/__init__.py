"""Metrics and the report. No pretrained networks: every number can be recomputed from the data and the world alone."""
