//! Which records of a source and day are already in: an append-only log with any number of writers, on any object store
