"""``fourdgs-ns``: one file per command; each names the options, and leaves the work to the room that can do it."""
