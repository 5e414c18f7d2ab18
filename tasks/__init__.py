"""Prefect tasks: one short file a step. Each opens its inputs, calls lora_core, stores the result, returns a ref.

What loads torch is imported inside a task: a run that finds everything cached never loads it.
"""
