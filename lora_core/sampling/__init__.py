"""Pictures drawn with a base model, with and without a LoRA."""
