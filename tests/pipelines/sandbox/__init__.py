"""The sandbox: the local stand-in for Twilio's API."""
