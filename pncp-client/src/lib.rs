//! Client of Brazil's public procurement API (PNCP) that proves completeness, obeys the server and never rounds
