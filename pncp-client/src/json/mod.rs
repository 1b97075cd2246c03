//! Just enough JSON, over borrowed text: values keep their spelling, and nothing becomes a tree.

mod canonical;
mod key_fields;
mod number;
mod page;
#[cfg(feature = "arrow")]
mod path;
mod scan;

#[cfg(feature = "arrow")]
pub(crate) use canonical::push_hash;
pub use canonical::{canonical_hash, canonical_json};
pub use key_fields::{KeyFields, key_fields};
#[cfg(feature = "arrow")]
pub(crate) use number::integer;
pub(crate) use number::scaled;
pub(crate) use page::{Body, Envelope, element_numbers, list_len, message_of, whole_number};
#[cfg(feature = "arrow")]
pub(crate) use path::{Segment, Unmapped, parse_path};
#[cfg(feature = "arrow")]
pub(crate) use scan::Kind;
pub(crate) use scan::Scanner;
#[cfg(feature = "arrow")]
pub(crate) use scan::push_json_string;
