"""The stages that carry an add-on result from Twilio to the warehouse, one file a stage."""
