"""Commands that read saved fits, one file each: `add` states the arguments, `run` returns what is said."""
