"""How good a model sounds, and what its latents hold: measures, baselines, reports, listening tests."""
