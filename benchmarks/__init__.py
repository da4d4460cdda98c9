"""What the README's figures come from: each script is one command that measures and prints."""
