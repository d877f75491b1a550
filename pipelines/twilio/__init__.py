"""The Twilio client: everything that speaks HTTP with Twilio or with the storage its contents lie on."""
