//! JSON below the level of documents: strings, and the raw members of objects.

mod members;
pub mod text;

pub use members::{each_member, visit_members};
