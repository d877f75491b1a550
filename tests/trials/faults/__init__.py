"""Tests against a source that misbehaves: replies made bad one by one, and a judge that looks at what is landed."""
