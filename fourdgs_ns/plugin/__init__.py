"""The guest wing: all that subclasses or registers with Nerfstudio, from entry points to the trainer."""
