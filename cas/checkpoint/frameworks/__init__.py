"""Framework checkpoints: one module a framework, which is imported when something of it is asked for."""
