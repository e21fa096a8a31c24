"""What the commands share: options, frame, errors, output files, progress, signals."""
