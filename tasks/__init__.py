"""Prefect tasks: one short file a step. Each opens its inputs, calls lora_core, stores the result, returns a ref."""
