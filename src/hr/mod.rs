//! The HR domain: scenarios, fields, and what happens to a value of each kind. Knows nothing of input and output.

mod scenario;

pub use scenario::Scenario;
