"""LoRA: put into a model, named as web UIs know it, written, read, attached for sampling, merged."""
