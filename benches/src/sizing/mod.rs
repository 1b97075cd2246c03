//! How often to save: sweeps checkpoint sizes against the simulator, beside what the model predicts.
//!
//! The model is [`details_checkpoint::sizing`]; this measures what it needs, then lets it predict every run of the
//! sweep, and prints both. The binary `checkpoint-sizing` is all of it; see the README of the package.

mod child;
mod fit;
mod options;
mod report;
mod sweep;

pub use child::{Done, Save, Spec, Store, run_child};
pub use fit::calibrate;
pub use options::Options;
pub use report::{Recommended, Report};
pub use sweep::{Run, sweep};
