"""Training: one loop, one task per stage. Nothing here is needed to play a world."""
