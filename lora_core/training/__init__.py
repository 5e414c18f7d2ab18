"""Training a LoRA: which picture when, the step, the state, the whole run."""
