"""The command line: `main` finds the command, and each group of commands has a file."""
