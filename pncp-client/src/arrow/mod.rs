//! Pinned Arrow schemas; page bytes straight into record batches, and rows back into JSON.
//!
//! No tree is built per record: one walk over a page finds every value and checks its syntax, and
//! columns, canonical hash and key fields are read off what it found. A page that is wrong
//! anywhere appends nothing; the error names the path and the first bytes there. What has no
//! column, is of another type, or would have to be rounded, goes verbatim into the record's
//! `_unmapped`, so that nothing of it is lost and nothing of it fails its page.

mod column;
mod contratacao;
mod date_time;
mod details;
mod row;
mod schema;

pub use contratacao::{Appended, ContratacaoBatchBuilder, RejectReason, Rejected};
pub use details::{DetailBatchBuilder, DetailRow, FacetMark, FacetValue};
pub use row::{contratacao_json, element_json, row_json};
pub use schema::{arquivo_fields, contratacao_schema, details_schema, item_fields};
