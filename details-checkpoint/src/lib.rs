//! Resumable, bounded, parallel fetching of something slow for each of many keys, saved every N
