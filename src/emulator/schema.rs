//! The columns that the emulated job expects, by scenario.

use crate::hr::Scenario;

/// Every scenario, in the order in which the open mode tries them.
pub(super) const SCENARIOS: [Scenario; 5] = [
    Scenario::EmployeeResignation,
    Scenario::JobLevelChange,
    Scenario::PerformanceReview,
    Scenario::PerformanceImprovementPlan,
    Scenario::EmployeeProfile,
];

/// The documented name of the column that says which scenario a row is of.
pub(super) const SCENARIO_COLUMN: &str = "HRScenario";

/// A column of the HR schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    /// The documented name; a job's `columns` maps it to the customer's.
    pub(super) name: &'static str,
    /// Another documented name, taken when the job maps no name of its own.
    pub(super) alias: Option<&'static str>,
    pub(super) kind: Kind,
    pub(super) required: bool,
}

/// What a cell must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Upn,
    DateTime,
    /// Text, with the most characters it may have.
    Text(Option<usize>),
}

const fn required(name: &'static str, alias: Option<&'static str>, kind: Kind) -> Column {
    Column {
        name,
        alias,
        kind,
        required: true,
    }
}

const fn optional(name: &'static str, alias: Option<&'static str>, most: Option<usize>) -> Column {
    Column {
        name,
        alias,
        kind: Kind::Text(most),
        required: false,
    }
}

const EMAIL: Column = required("EmailAddress", Some("UserPrincipalName"), Kind::Upn);
const EFFECTIVE: Column = required("EffectiveDate", None, Kind::DateTime);
const TEXT: Kind = Kind::Text(None);

const RESIGNATION: &[Column] = &[
    EMAIL,
    required("ResignationDate", Some("TerminationDate"), Kind::DateTime),
    required("LastWorkingDate", None, Kind::DateTime),
];
const LEVEL: &[Column] = &[
    EMAIL,
    EFFECTIVE,
    optional("Remarks", None, Some(200)),
    optional("OldLevel", None, None),
    optional("NewLevel", None, None),
];
const REVIEW: &[Column] = &[
    EMAIL,
    EFFECTIVE,
    optional("Remarks", None, Some(200)),
    optional("Rating", None, Some(25)),
];
const PLAN: &[Column] = &[
    EMAIL,
    EFFECTIVE,
    optional("Remarks", Some("ImprovementRemarks"), Some(200)),
    optional("Rating", Some("PerformanceRating"), Some(25)),
];
const PROFILE: &[Column] = &[
    EMAIL,
    required("EmployeeFirstName", None, TEXT),
    required("EmployeeLastName", None, TEXT),
    required("EmployeeAddressLine1", Some("EmployeeAddLine1"), TEXT),
    required("EmployeeZipCode", None, TEXT),
    optional("EmployeeAddressLine2", Some("EmployeeAddLine2"), None),
    optional("EmployeeCity", None, None),
    optional("EmployeeState", None, None),
    optional("EmployeeCountry", None, None),
    optional("EmployeeDepartment", Some("EmployeeDept"), None),
    optional("EmployeeType", None, None),
    optional("EmployeeRole", None, None),
];

/// The columns of a scenario.
pub(super) fn columns(scenario: Scenario) -> &'static [Column] {
    match scenario {
        Scenario::EmployeeResignation => RESIGNATION,
        Scenario::JobLevelChange => LEVEL,
        Scenario::PerformanceReview => REVIEW,
        Scenario::PerformanceImprovementPlan => PLAN,
        Scenario::EmployeeProfile => PROFILE,
    }
}

/// The name of a scenario in configuration and logs.
pub(super) fn name(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::EmployeeResignation => "employee_resignation",
        Scenario::JobLevelChange => "job_level_change",
        Scenario::PerformanceReview => "performance_review",
        Scenario::PerformanceImprovementPlan => "performance_improvement_plan",
        Scenario::EmployeeProfile => "employee_profile",
    }
}

/// The documented identifier of a scenario, for [`SCENARIO_COLUMN`].
pub(super) fn identifier(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::EmployeeResignation => "Resignation",
        Scenario::JobLevelChange => "Job level change",
        Scenario::PerformanceReview => "Performance review",
        Scenario::PerformanceImprovementPlan => "Performance improvement plan",
        Scenario::EmployeeProfile => "Employee profile",
    }
}
