"""The base model and the diffusion process around it."""
