"""The commands, one module each. They import what they run when they run, so that `--help` loads none of it."""
