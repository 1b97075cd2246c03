//! Just enough JSON, over borrowed text: values keep their spelling, and nothing becomes a tree.

mod canonical;
mod fault;
mod key_fields;
mod number;
mod page;
#[cfg(feature = "arrow")]
mod path;
mod scan;
#[cfg(feature = "arrow")]
mod spell;
#[cfg(feature = "arrow")]
mod tape;
mod text;
#[cfg(feature = "arrow")]
mod walk;

pub use canonical::{canonical_hash, canonical_json};
pub(crate) use fault::{Fault, path_of};
#[cfg(feature = "arrow")]
pub(crate) use key_fields::key_fields_at;
pub use key_fields::{KeyFields, key_fields};
#[cfg(feature = "arrow")]
pub(crate) use number::integer;
pub(crate) use number::scaled;
pub(crate) use page::{
    Body, Envelope, element_numbers, list_len, message_of, syntax_error, whole_number,
};
#[cfg(feature = "arrow")]
pub(crate) use path::{Segment, Unmapped, parse_path};
pub(crate) use scan::Scanner;
#[cfg(feature = "arrow")]
pub(crate) use scan::{Kind, text_of};
#[cfg(feature = "arrow")]
pub(crate) use spell::Speller;
#[cfg(feature = "arrow")]
pub(crate) use tape::{Doc, Node};
#[cfg(feature = "arrow")]
pub(crate) use text::{RawStr, push_json_string};
#[cfg(feature = "arrow")]
pub(crate) use walk::Walker;
