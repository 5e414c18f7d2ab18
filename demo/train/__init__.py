"""How the demo's models were trained, from drawn pictures to exported weights."""
