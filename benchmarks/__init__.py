"""What the export costs, and what the other ways to the same rows cost; see README.md in this folder."""
