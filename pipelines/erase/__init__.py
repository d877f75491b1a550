"""What is to be forgotten here, chosen: by its SID or by its age."""
