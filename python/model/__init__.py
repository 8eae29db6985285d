"""What the network is: streaming layers, filter bank, noise, latent, autoencoder, configuration."""
