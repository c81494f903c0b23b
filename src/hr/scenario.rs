//! The HR scenarios.

/// A kind of HR fact that the connector takes.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Who resigned, when, and the last day.
    EmployeeResignation,
    /// A change of job level.
    JobLevelChange,
    /// The result of a performance review.
    PerformanceReview,
    /// A performance improvement plan.
    PerformanceImprovementPlan,
    /// Who a person is and where.
    EmployeeProfile,
}
