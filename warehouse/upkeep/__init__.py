"""What is done to an archive that is there: verify, erase, compact, repair."""
