"""Pure numerics: arrays and plain numbers in, arrays out."""
