"""What every room may use: worker processes, memory governor, progress, files. Imports no room."""
