"""Networks, losses, training loops and segmenters."""
