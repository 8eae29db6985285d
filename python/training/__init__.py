"""How the network learns: corpus, augmentation, losses, discriminators, the two-phase loop."""
