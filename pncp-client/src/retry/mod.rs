//! Whether to ask again (`table`), when (`backoff`, `retry_after`), and how often in all
//! (`budget`). Nothing here waits.

mod backoff;
mod budget;
mod retry_after;
mod table;

pub(crate) use backoff::Delays;
pub(crate) use budget::Budget;
pub(crate) use retry_after::retry_after;
pub use table::{Action, Answered, BodyKind, Method, action};
