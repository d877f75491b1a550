"""Deletion at Twilio: only on request, and only what is proven to be safe here."""
