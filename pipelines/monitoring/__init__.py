"""What is owed, what is late, and what to say of it."""
