"""Tests of the Twilio client: pure rules, virtual time, and real sockets that misbehave."""
