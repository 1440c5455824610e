"""Layers: attention, the ST-transformer, quantizers. Linen modules, used as a layer library only."""
