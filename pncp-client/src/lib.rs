#![doc = include_str!("../README.md")]

mod aimd;
#[cfg(feature = "arrow")]
pub mod arrow;
mod call;
mod client;
mod clock;
mod details;
mod domain;
mod download;
mod endpoint;
mod engine;
mod error;
mod json;
mod limits;
mod listing;
pub mod model;
mod noise;
mod observer;
#[cfg(test)]
mod pace_model;
mod query;
mod retry;
#[cfg(test)]
mod script;
mod settings;
mod shape;
mod single;
mod transport;

pub use client::{PncpClient, PncpClientBuilder};
pub use clock::{SystemWallClock, WallClock};
pub use details::{DetailPages, Details, PageGate};
pub use domain::{Amount, Cnpj, ContratacaoKey, Modalidade, NumeroControlePncp, Window};
pub use download::Download;
pub use endpoint::{Endpoint, Family};
pub use error::{BoxError, CallContext, Error, Result};
pub use json::{KeyFields, canonical_hash, canonical_json, key_fields};
pub use limits::RateLimits;
pub use listing::{Listing, ListingProof, PartProof, RawPage, RawRecord, ShortPage, Verdict};
pub use observer::{ClientObserver, Event, Silent};
pub use query::ContratacoesQuery;
pub use retry::{Action, Answered, BodyKind, Method, action};
pub use settings::{ClientSettings, FamilySettings, RetrySettings, TimeoutSettings};
pub use shape::Shape;
pub use single::{ModalidadeInfo, TabelaDominio};
