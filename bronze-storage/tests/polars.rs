//! The bridge to polars, and scans.
