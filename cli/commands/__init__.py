"""One thin module per command of the command line; none imports another."""
