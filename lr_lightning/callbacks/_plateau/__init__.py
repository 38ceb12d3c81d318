"""What PlateauDecay's hooks need."""
