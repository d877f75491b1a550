"""Twilio's rows as values. Pure: no file, no network, no database."""
