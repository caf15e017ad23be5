"""What CLAD must beat: other detectors behind one contract, one file a method."""
