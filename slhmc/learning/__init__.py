"""Training of a guide: samples, losses, optimizers, and what a training leaves on disk. The only room that imports torch."""
