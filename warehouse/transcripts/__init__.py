"""What was said: how the contents of vendors are read as transcripts."""
