"""Archives that earlier versions wrote, kept to be read, written on and erased from."""
