//! A loopback PNCP with the real one's quirks and injectable faults
