//! JSON text below the level of documents: strings and the raw members of objects.

pub mod members;
pub mod text;

pub use members::each_member;
